"""SVG charts of one quantity against another, as text, such as shortage against cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

Pairs = Sequence[tuple[float, float]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 16.0, 26.0, 40.0
_TICKS = 6


@dataclass(slots=True)
class Scatter:
    """A chart with x from left to right and y upwards from 0. Later marks are drawn over earlier marks."""

    left: float
    right: float
    highest: float
    label: str
    """Text alternative for people who cannot see the chart."""
    x_unit: str
    y_unit: str
    width: float = 1080.0
    height: float = 380.0
    _marks: list[str] = field(default_factory=list[str])

    def x(self, value: float) -> float:
        """Return the pixels from the left edge; values outside the chart are drawn at its edge."""
        share = (value - self.left) / (self.right - self.left or 1.0)
        return _LEFT + min(max(share, 0.0), 1.0) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Return the pixels from the top edge; values outside the chart are drawn at its edge."""
        share = min(max(value / (self.highest or 1.0), 0.0), 1.0)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def line(self, points: Pairs, style: str) -> None:
        """Draw a curve."""
        path = "L".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self._marks.append(f'<path class="{style}" d="M{path}"/>')

    def dots(self, points: Pairs, style: str, titles: Sequence[str]) -> None:
        """Draw one dot per point; its title is shown under the pointer."""
        for (x, y), title in zip(points, titles, strict=True):
            self._marks.append(
                f'<circle class="{style}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="3.2">'
                f"<title>{escape(title)}</title></circle>"
            )

    def mark(self, x: float, y: float, style: str, name: str, *, up: float = 14.0) -> None:
        """Draw a highlighted point with its name. up: pixels between point and name."""
        self._marks.append(f'<circle class="{style}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="7"/>')
        across = self.x(x)
        anchor = "end" if across > self.width - 180 else "start" if across < _LEFT + 120 else "middle"
        self._marks.append(
            f'<text class="mark-name" style="text-anchor:{anchor}" x="{across:.1f}" y="{self.y(y) - up:.1f}">'
            f"{escape(name)}</text>"
        )

    def svg(self) -> str:
        """Return the complete chart."""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{escape(self.label)}">'
            f"{self._grid()}{''.join(self._marks)}</svg>"
        )

    def _grid(self) -> str:
        parts = [f'<text class="unit" x="4" y="12">{escape(self.y_unit)}</text>']
        for value in _round_values(0.0, self.highest):
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{self.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick-y" x="{_LEFT - 8}" y="{y + 3.5:.1f}">{value:g}</text>'
            )
        bottom = self.height - _BOTTOM
        for value in _round_values(self.left, self.right):
            x = self.x(value)
            parts.append(
                f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
                f'<text class="tick-x" x="{x:.1f}" y="{bottom + 16}">{value:g}</text>'
            )
        parts.append(
            f'<text class="unit" style="text-anchor:end" x="{self.width - _RIGHT}" y="{self.height - 6}">'
            f"{escape(self.x_unit)}</text>"
        )
        return "".join(parts)


def _round_values(low: float, high: float) -> list[float]:
    """Return at most six values within [low, high] whose distance is 1, 2 or 5 times a power of ten.

    >>> _round_values(0.0, 5.0)
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    span = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(factor * power for factor in (1, 2, 5, 10, 20) if span / (factor * power) <= _TICKS)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 9) for index in range(first, math.floor(high / step + 1e-9) + 1)]
