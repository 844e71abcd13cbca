"""Spans of time that a query still has to read: newest first, in parts. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from predictive_scaling.storage.source_positions import SourcePosition, Span

MINUTE = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def floor(time: datetime, step: timedelta) -> datetime:
    """Return the last multiple of `step` since the epoch that is not after a time."""
    return time - (time - _EPOCH) % step


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans sorted, without empty ones, adjacent and overlapping ones merged."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def without(spans: Iterable[Span], read: Span) -> tuple[Span, ...]:
    """Return what remains of the spans after a span was read."""
    return union(part for start, end in spans for part in ((start, min(end, read[0])), (max(start, read[1]), end)))


def newest_part(spans: tuple[Span, ...], length: timedelta) -> Span | None:
    """Return the end of the newest span, at most `length` long; None without spans.

    The part begins with a minute or with its span, so that the samples of a minute are read together.
    """
    if not spans:
        return None
    start, end = spans[-1]
    return max(start, floor(end - length, MINUTE)), end


def extended(position: SourcePosition, end: datetime, history_start: datetime, reread: timedelta) -> SourcePosition:
    """Return the position up to a new end, with the last `reread` before the old end to be read again.

    history_start: beginning of the history; an earlier one than before adds what is missing. A clock that was stepped
    back changes nothing.
    """
    missing = list(position.missing)
    if end > position.span_end:
        missing.append((max(position.span_start, position.span_end - reread), end))
    if history_start < position.span_start:
        missing.append((history_start, position.span_start))
    return replace(
        position,
        span_start=min(position.span_start, history_start),
        span_end=max(position.span_end, end),
        missing=union(missing),
    )


def read_ratio(position: SourcePosition) -> float:
    """Return the share of the span that was read, between 0 and 1."""
    total = position.span_end - position.span_start
    missing = sum((end - start for start, end in position.missing), timedelta())
    return 1.0 - missing / total if total > timedelta() else 1.0
