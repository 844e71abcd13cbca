"""SVG charts over time, as text. A chart has a frame with its scales, and marks drawn into it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape

Points = Sequence[tuple[datetime, float]]

_MAX_TICKS = 25
_TICKS = (
    (timedelta(hours=1), "%H:%M"),
    (timedelta(hours=3), "%a %H:%M"),
    (timedelta(days=1), "%-d %b"),
    (timedelta(days=7), "%-d %b"),
    (timedelta(days=28), "%-d %b %Y"),
)
"""Distances between two times on the axis, and their format."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 26.0, 24.0


@dataclass(slots=True)
class Chart:
    """A chart with time from left to right and values upwards from 0. Later marks are drawn over earlier marks."""

    begins_at: datetime
    ends_at: datetime
    highest: float
    """The highest value that must fit into the chart."""
    label: str
    """Text alternative for people who cannot see the chart."""
    unit: str
    width: float = 1080.0
    height: float = 250.0
    _marks: list[str] = field(default_factory=list[str])

    def x(self, at: datetime) -> float:
        """Return the pixels from the left edge."""
        share = (at - self.begins_at) / (self.ends_at - self.begins_at)
        return _LEFT + min(max(share, 0.0), 1.0) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return the pixels from the top edge."""
        return self.height - _BOTTOM - value / self.top * (self.height - _TOP - _BOTTOM)

    @property
    def top(self) -> float:
        """The value at the upper edge: an integer multiple of the tick."""
        return math.ceil(self.highest / self.tick) * self.tick

    @property
    def tick(self) -> float:
        """The distance of two grid lines: 1, 2 or 5 times a power of ten, so that there are at most six lines."""
        rough = max(self.highest, 1e-9) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)

    def span(self, begins_at: datetime, ends_at: datetime, label: str, style: str) -> None:
        """Draw a shaded span of time with its name above it."""
        left, right = self.x(begins_at), self.x(ends_at)
        bottom = self.height - _BOTTOM
        self._marks.append(
            f'<rect class="{style}" x="{left:.1f}" y="{_TOP}" width="{right - left:.1f}" height="{bottom - _TOP:.1f}"/>'
            f'<text class="{style}-name" x="{(left + right) / 2:.1f}" y="{_TOP - 9}">{escape(label)}</text>'
        )

    def line(self, points: Points, style: str, *, stepped: bool = False) -> None:
        """Draw a curve. stepped: each value holds until the next one."""
        self._marks.append(f'<path class="{style}" d="{self._path(points, stepped)}"/>')

    def area(self, points: Points, style: str, *, stepped: bool = False) -> None:
        """Fill the area below a curve."""
        if points:
            first, last = self.x(points[0][0]), self.x(points[-1][0])
            ground = f"L{last:.1f},{self.y(0):.1f}L{first:.1f},{self.y(0):.1f}Z"
            self._marks.append(f'<path class="{style}" d="{self._path(points, stepped)}{ground}"/>')

    def band(self, lower: Points, upper: Points, style: str) -> None:
        """Fill the area between two curves."""
        if lower and upper:
            back = self._path(list(reversed(lower)), False).replace("M", "L", 1)
            self._marks.append(f'<path class="{style}" d="{self._path(upper, False)}{back}Z"/>')

    def gaps(self, bars: Iterable[tuple[datetime, datetime, float, float]], style: str) -> None:
        """Draw bars from one value up to another, for shortages. bars: begin, end, low value, high value."""
        path = "".join(
            f"M{self.x(begin):.1f},{self.y(low):.1f}H{self.x(end):.1f}V{self.y(high):.1f}H{self.x(begin):.1f}Z"
            for begin, end, low, high in bars
        )
        if path:
            self._marks.append(f'<path class="{style}" d="{path}"/>')

    def svg(self) -> str:
        """Return the complete chart."""
        box = f"{self.x(self.begins_at):.1f},{self.x(self.ends_at):.1f}"
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(self.label)}" '
            f'data-plot="{box}">{self._grid()}{"".join(self._marks)}{self._axis()}'
            f'<line class="cursor" y1="{_TOP}" y2="{self.height - _BOTTOM}"/></svg>'
        )

    def _grid(self) -> str:
        lines = list[str]()
        for index in range(round(self.top / self.tick) + 1):
            value = index * self.tick
            height = self.y(value)
            lines.append(
                f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
                f'<text class="tick-y" x="{_LEFT - 8}" y="{height + 3.5:.1f}">{value:g}</text>'
            )
        return "".join(lines) + f'<text class="unit" x="4" y="12">{escape(self.unit)}</text>'

    def _axis(self) -> str:
        span = self.ends_at - self.begins_at
        distance, form = next(tick for tick in _TICKS if span <= _MAX_TICKS * tick[0] or tick is _TICKS[-1])
        at = self.begins_at.replace(minute=0, second=0, microsecond=0)
        if distance >= timedelta(days=1):
            at = at.replace(hour=0)
        labels = list[str]()
        while at <= self.ends_at:
            if at >= self.begins_at:
                labels.append(f'<text class="tick-x" x="{self.x(at):.1f}" y="{self.height - 7}">{at:{form}}</text>')
            at += distance
        return "".join(labels)

    def _path(self, points: Points, stepped: bool) -> str:
        parts = list[str]()
        before: float | None = None
        for at, value in points:
            x, y = self.x(at), self.y(value)
            if before is None:
                parts.append(f"M{x:.1f},{y:.1f}")
            elif stepped:
                parts.append(f"H{x:.1f}" + ("" if y == before else f"V{y:.1f}"))
            else:
                parts.append(f"L{x:.1f},{y:.1f}")
            before = y
        return "".join(parts)
