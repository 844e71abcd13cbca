"""The supported message formats. A format is one module in this package and one line in FORMATS."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from predictive_scaling.ingest.formats import native, otlp, prometheus, telegraf
from predictive_scaling.ingest.formats.reading import DEFAULT_RULES, SeriesRules, undecodable
from predictive_scaling.ingest.measurement import Measurement
from predictive_scaling.ingest.rejected_message import Reason, RejectedMessage

Format = Callable[[bytes, SeriesRules], Sequence[Measurement | RejectedMessage]]
"""Returns the measurements of a message, which are validated afterwards for all formats.

A message of several series returns a rejection for each series that it cannot read. Raises RejectedMessage if it cannot
read the message at all.
"""

FORMATS: Mapping[str, Format] = {
    "native": native.decode,
    "otlp_json": otlp.decode_json,
    "otlp_proto": otlp.decode_protobuf,
    "prometheus": prometheus.decode,
    "telegraf": telegraf.decode,
}
DEFAULT = "native"
HEADER = "format"
"""The Kafka header with the format of a message; without it the format is that of the topic."""


@dataclass(frozen=True, slots=True)
class TopicFormat:
    """How the messages of a topic are read. name: the format of messages without a header."""

    name: str = DEFAULT
    rules: SeriesRules = DEFAULT_RULES

    def decode(self, raw: bytes, header: str | None) -> Sequence[Measurement | RejectedMessage]:
        """Return the measurements and rejections of a message. Raises RejectedMessage."""
        decode = choose(header or self.name)
        try:
            return decode(raw, self.rules)
        except UnicodeDecodeError as error:
            # msgspec raises it for the keys of an object, and DecodeError elsewhere.
            raise undecodable(raw, "UTF-8", str(error)) from None


NATIVE = TopicFormat()


def choose(name: str) -> Format:
    """Return the format of a name. Raises RejectedMessage with the supported formats."""
    try:
        return FORMATS[name]
    except KeyError:
        supported = ", ".join(sorted(FORMATS))
        raise RejectedMessage(
            Reason.UNKNOWN_FORMAT, f"the header `{HEADER}` is {name[:50]!r}; supported: {supported}"
        ) from None
