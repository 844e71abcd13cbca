"""The supported message formats. A format is one module in this package and one line in FORMATS."""

from collections.abc import Callable, Mapping, Sequence

from predictive_scaling.ingest.formats import native
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

Format = Callable[[bytes], Sequence[Measurement]]
"""Returns the measurements of a message, which are validated afterwards for all formats; raises RejectedMessage."""

FORMATS: Mapping[str, Format] = {"native": native.decode}
DEFAULT = "native"
HEADER = "format"
"""The Kafka header with the format of a message; without it the format is DEFAULT."""


def choose(name: str) -> Format:
    """Return the format of a name. Raises RejectedMessage with the supported formats."""
    try:
        return FORMATS[name]
    except KeyError:
        supported = ", ".join(sorted(FORMATS))
        raise RejectedMessage(
            Reason.UNKNOWN_FORMAT, f"the header `{HEADER}` is {name[:50]!r}; supported: {supported}"
        ) from None
