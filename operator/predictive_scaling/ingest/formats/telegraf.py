"""Telegraf's JSON: one metric `{"name", "tags", "fields", "timestamp"}`, or a batch `{"metrics": [...]}`.

The metric of a field is `name_field`, and `name` alone for the field `value`. Text and booleans are no measurements.
timestamp: seconds, milliseconds, microseconds or nanoseconds (`json_timestamp_units`), distinguished by magnitude.
"""

import math
import re
from collections.abc import Iterator

import msgspec

from predictive_scaling.ingest.formats.reading import SeriesRules, check_size, time_of, undecodable
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage


class _Metric(msgspec.Struct):
    name: str
    timestamp: int | float
    fields: dict[str, float | bool | str | None]
    tags: dict[str, str] = {}


class _Batch(msgspec.Struct):
    metrics: list[_Metric]


_BEGIN_OF_BATCH = re.compile(rb'\s*\{\s*"metrics"\s*:')
_METRIC, _BATCH = msgspec.json.Decoder(_Metric), msgspec.json.Decoder(_Batch)


def decode(raw: bytes, rules: SeriesRules) -> list[Measurement | RejectedMessage]:
    """Return the measurements of a message, and a rejection for each metric without a service or time."""
    check_size(raw)
    try:
        metrics = _BATCH.decode(raw).metrics if _BEGIN_OF_BATCH.match(raw) else [_METRIC.decode(raw)]
    except msgspec.ValidationError as error:
        raise RejectedMessage(Reason.WRONG_TYPE, f"{error}; expected is Telegraf's JSON") from None
    except RecursionError:
        raise RejectedMessage(Reason.TOO_DEEP, "nested too deeply; tags and fields are flat objects") from None
    except msgspec.DecodeError as error:
        raise undecodable(raw, "JSON", str(error)) from None
    return [measurement for metric in metrics for measurement in _measurements(metric, rules)]


def _measurements(metric: _Metric, rules: SeriesRules) -> Iterator[Measurement | RejectedMessage]:
    try:
        time = time_of(metric.timestamp)
        for field, value in metric.fields.items():
            if isinstance(value, float) and not math.isnan(value):
                name = metric.name if field == "value" else f"{metric.name}_{field}"
                yield rules.measurement(name, value, time, metric.tags)
    except RejectedMessage as rejected:
        yield rejected
