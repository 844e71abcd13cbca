"""What messages are understood. A format is one module here and one line in FORMATS."""

from collections.abc import Callable, Mapping, Sequence

from predictive_scaling.ingest.formats import native
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

Format = Callable[[bytes], Sequence[Measurement]]
"""The measurements of one message; raises Refused. Whether they may be kept is judged afterwards, for all formats."""

FORMATS: Mapping[str, Format] = {"native": native.decode}
DEFAULT = "native"
HEADER = "format"
"""The Kafka header that names a message's format; without it a message is in DEFAULT."""


def choose(name: str) -> Format:
    """The format of that name. Raises Refused, naming those that there are."""
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(sorted(FORMATS))
        raise RejectedMessage(
            Reason.UNKNOWN_FORMAT, f"the header `{HEADER}` says {name[:50]!r}; known: {known}"
        ) from None
