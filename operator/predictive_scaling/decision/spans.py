"""Half-open spans of time, and the window that a floor looks ahead over (semantics 2)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

INSTANT = timedelta(microseconds=1)
"""The last moment of a span is this much before its end."""


class Span(NamedTuple):
    """[start, end)."""

    start: datetime
    end: datetime

    def meets(self, other: "Span") -> bool:
        """Whether they have a moment in common."""
        return self.start < other.end and other.start < self.end

    def within(self, other: "Span") -> "Span | None":
        """The part that lies within `other`; None where there is none."""
        return Span(max(self.start, other.start), min(self.end, other.end)) if self.meets(other) else None


def window_ahead(now: datetime, lead_time: timedelta, refresh: timedelta) -> Span:
    """[now, now + lead time + refresh], its last moment included; never shorter than the refresh interval."""
    return Span(now, now + max(lead_time, timedelta()) + max(refresh, timedelta()) + INSTANT)


def without(spans: Iterable[Span], taken: Iterable[Span]) -> tuple[Span, ...]:
    """What is left of `spans` outside all of `taken`."""
    left = tuple(spans)
    for hole in taken:
        parts = ((Span(it.start, min(it.end, hole.start)), Span(max(it.start, hole.end), it.end)) for it in left)
        left = tuple(part for pair in parts for part in pair if part.start < part.end)
    return left
