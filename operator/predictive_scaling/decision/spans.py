"""Half-open spans of time, and the span that a floor covers (semantics 2)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

INSTANT = timedelta(microseconds=1)
"""The last moment of a span is this much before its end."""


class Span(NamedTuple):
    """[start, end) in UTC: an occurrence of an event, a bin of a forecast, the window that a floor covers."""

    start: datetime
    end: datetime

    def overlaps(self, other: "Span") -> bool:
        """Whether both contain a common moment."""
        return self.start < other.end and other.start < self.end

    def intersection(self, other: "Span") -> "Span | None":
        """The part within `other`; None where there is none."""
        return Span(max(self.start, other.start), min(self.end, other.end)) if self.overlaps(other) else None


def window_ahead(now: datetime, lead_time: timedelta, margin: timedelta) -> Span:
    """[now, now + lead time + margin], including its last moment; never shorter than the margin."""
    return Span(now, now + max(lead_time, timedelta()) + max(margin, timedelta()) + INSTANT)


def difference(spans: Iterable[Span], excluded: Iterable[Span]) -> tuple[Span, ...]:
    """The parts of `spans` outside all of `excluded`."""
    remaining = tuple(spans)
    for gap in excluded:
        pieces = (
            (Span(span.start, min(span.end, gap.start)), Span(max(span.start, gap.end), span.end)) for span in remaining
        )
        remaining = tuple(piece for pair in pieces for piece in pair if piece.start < piece.end)
    return remaining
