"""The start offset of a partition; pure, separate from the consumer for its tests."""

from dataclasses import dataclass

from predictive_scaling.ingest.source import Bounds
from predictive_scaling.storage.ingest_offsets import IngestOffset


@dataclass(frozen=True, slots=True)
class Start:
    """offset: the first to read. known: the offset in the database. lost: messages that Kafka deleted unread.

    is_reset: the topic was deleted and recreated, so the offset in the database is invalid.
    """

    offset: int
    known: int | None
    is_reset: bool = False
    lost: int = 0


def start_of(known: IngestOffset | None, bounds: Bounds, topic_id: str) -> Start:
    """Return the higher of the database's and the group's offset, within the bounds of the partition.

    topic_id: the current id of the topic; empty if Kafka has none.
    """
    committed = bounds.committed if bounds.committed is not None and bounds.committed <= bounds.high else None
    if known is None:
        return Start(max(committed or 0, bounds.low), None)
    is_other_topic = bool(topic_id) and bool(known.topic_id) and topic_id != known.topic_id
    if is_other_topic or known.next_offset > bounds.high:
        return Start(bounds.low, known.next_offset, is_reset=True)
    offset = max(known.next_offset, committed or 0)
    return Start(max(offset, bounds.low), known.next_offset, lost=max(0, bounds.low - offset))
