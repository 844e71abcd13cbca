"""Series named as in Prometheus, and the JSON of the Prometheus Kafka adapter.

The adapter writes one sample per message: `{"timestamp", "value", "name", "labels"}`, with the value as text.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from predictive_scaling.ingest.formats.reading import SeriesRules, check_size, undecodable
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

NAME = "__name__"
_BUCKET = "le"


class _Message(msgspec.Struct):
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    value: str | float
    labels: dict[str, str]
    name: str = ""


_DECODER = msgspec.json.Decoder(_Message)


def decode(raw: bytes, rules: SeriesRules) -> list[Measurement]:
    """Return the measurement of a message; none for a bucket of a histogram, and for NaN, which marks a gap."""
    check_size(raw)
    try:
        message = _DECODER.decode(raw)
        value = float(message.value)
    except msgspec.ValidationError as error:
        raise RejectedMessage(Reason.WRONG_TYPE, f"{error}; expected is the JSON of the adapter") from None
    except RecursionError:
        raise RejectedMessage(Reason.TOO_DEEP, "nested too deeply; labels are a flat object") from None
    except msgspec.DecodeError as error:
        raise undecodable(raw, "JSON", str(error)) from None
    except ValueError as error:
        raise RejectedMessage(Reason.NOT_A_NUMBER, f"value: {error}") from None
    labels = message.labels if NAME in message.labels else {**message.labels, NAME: message.name}
    found = sample(labels, value, message.timestamp, rules)
    return [] if found is None else [found]


def sample(labels: Mapping[str, str], value: float, time: datetime, rules: SeriesRules) -> Measurement | None:
    """Return the measurement of a sample; None for a bucket of a histogram, and for NaN, such as a staleness marker.

    Raises RejectedMessage for a series without a service or a name.
    """
    name = labels.get(NAME, "")
    if math.isnan(value) or (_BUCKET in labels and name.endswith("_bucket")):
        return None
    return rules.measurement(name, value, time, {label: text for label, text in labels.items() if label != NAME})
