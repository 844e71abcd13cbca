"""Where to begin in a partition."""

from dataclasses import dataclass

from predictive_scaling.ingest.source import Bounds
from predictive_scaling.storage.ingest_offsets import IngestOffset


@dataclass(frozen=True, slots=True)
class Start:
    """offset: the first to read. known: what the database had. lost: messages that Kafka dropped before we read them.

    is_reset: the topic was deleted and made again, what the database had means nothing.
    """

    offset: int
    known: int | None
    is_reset: bool = False
    lost: int = 0


def where_to_start(known: IngestOffset | None, bounds: Bounds, topic_id: str) -> Start:
    """The higher of the database's and the group's offset, within what the partition holds; its beginning at first.

    topic_id: of the topic as it is now, empty where Kafka tells none.
    """
    committed = bounds.committed if bounds.committed is not None and bounds.committed <= bounds.high else None
    if known is None:
        return Start(max(committed or 0, bounds.low), None)
    is_other_topic = bool(topic_id) and bool(known.topic_id) and topic_id != known.topic_id
    if is_other_topic or known.next_offset > bounds.high:
        return Start(bounds.low, known.next_offset, is_reset=True)
    offset = max(known.next_offset, committed or 0)
    return Start(max(offset, bounds.low), known.next_offset, lost=max(0, bounds.low - offset))
