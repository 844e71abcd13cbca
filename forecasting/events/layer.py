"""What stands between a model and demand with events: it learns and forecasts quiet demand, and the effects are put on.

A model that sees the peak of yesterday's sale would forecast one for today, and one that forecasts from within a sale
would not see it end. So all that it looks at is divided by the effects that were to be expected of the events in it,
and what it answers is multiplied by those of the events to come.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from forecasting.events.amplitude import MeasuredEvent
from forecasting.events.bands import Bands
from forecasting.events.course import Course
from forecasting.events.effects import Effects, Timeline, TypeEffect, without_effect
from forecasting.forecast import QUANTILES
from forecasting.panel import IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

Kind = TypeVar("Kind", bound=np.generic)
_MAX_CHARACTERS = 2_000_000
_ORIGIN_BINS = 3


@dataclass(frozen=True, slots=True)
class EventLayer:
    """What a model of one series learned of its events. bands: None where too few forecasts near events were judged."""

    effects: Effects
    bands: Bands | None = None

    def on_panel(self, panel: Panel, ahead: int) -> "PanelEvents":
        """What the events of each row's context mean for it, and for so many bins behind its end."""
        starts = panel.ends - panel.bins * panel.step
        lines = [
            self.effects.timeline(float(start), float(panel.step), panel.bins + ahead, context)
            for start, context in zip(starts, panel.contexts, strict=True)
        ]
        return PanelEvents(panel, tuple(lines), self.bands)

    def without_events(self, series: Series) -> Series:
        """The series as it would have been without its events."""
        return replace(series, values=without_effect(series.values, self.effects.series_timeline(series).effect))

    def text(self) -> str:
        """As JSON."""
        types = [asdict(effect) for effect in self.effects.types]
        return json.dumps({"types": types, "bands": asdict(self.bands) if self.bands else None}, allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> "EventLayer":
        """What `text` wrote. Raises ValueError when it is anything else."""
        if len(text) > _MAX_CHARACTERS:
            raise ValueError(f"learned effects of events take {len(text)} characters; at most {_MAX_CHARACTERS} do")
        try:
            parts = json.loads(text)
            types = tuple(_type_effect(one) for one in _listed(parts["types"]))
            bands = _bands(parts["bands"]) if parts["bands"] else None
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"learned effects of events have types and bands: {error}") from None
        return cls(Effects(types), bands)


@dataclass(frozen=True, slots=True)
class PanelEvents:
    """Time lines beside a panel, a row each."""

    panel: Panel
    lines: tuple[Timeline, ...]
    bands: Bands | None

    def without_events(self) -> Panel:
        """The panel without the effects of its events."""
        bins = self.panel.bins
        values = [
            without_effect(row, line.effect[:bins]) for row, line in zip(self.panel.values, self.lines, strict=True)
        ]
        return replace(self.panel, values=np.stack(values))

    def near(self, origins: Origins, horizons: IntArray) -> npt.NDArray[np.bool_]:
        """Whether a target lies near an event of which something is known: shape (origins, horizons)."""
        return _at([line.near for line in self.lines], origins, horizons)

    def change(self, origins: Origins, horizons: IntArray) -> FloatArray:
        """Log effect at each target less that at its origin: shape (origins, horizons)."""
        target = _at([line.effect for line in self.lines], origins, horizons)
        sums = np.stack([np.concatenate([[0.0], np.cumsum(line.effect)]) for line in self.lines])
        since = np.maximum(origins.cols - _ORIGIN_BINS, 0)
        width = np.maximum(origins.cols - since, 1)
        return target - ((sums[origins.rows, origins.cols] - sums[origins.rows, since]) / width)[:, None]

    def owner(self, origins: Origins, horizons: IntArray) -> IntArray:
        """The event that rules each target; -1 for none."""
        return _at([line.owner for line in self.lines], origins, horizons)

    def apply(self, values: FloatArray, origins: Origins, horizons: IntArray) -> FloatArray:
        """Forecasts of quiet demand with the effects, and near events with their bands.

        values: shape (origins, horizons, len(QUANTILES)). Away from events nothing changes.
        """
        effect = _at([line.effect for line in self.lines], origins, horizons)
        near = self.near(origins, horizons)
        found = np.where(near[:, :, None], values * np.exp(effect)[:, :, None], values)
        if self.bands is None or not near.any():
            return found
        minutes = (horizons * (self.panel.step / 60)).astype(np.float64)
        median = found[:, :, QUANTILES.index(0.5)]
        own = self.bands.around(median, np.broadcast_to(minutes, median.shape), self.change(origins, horizons))
        return np.where(near[:, :, None], own, found)


def _at(rows: list[npt.NDArray[Kind]], origins: Origins, horizons: IntArray) -> npt.NDArray[Kind]:
    """What each row has at the targets: shape (origins, horizons)."""
    return np.stack(rows)[origins.rows[:, None], origins.cols[:, None] + horizons - 1]


def _type_effect(parts: dict[str, Any]) -> TypeEffect:
    """Raises ValueError, KeyError and TypeError for what no learning could have written."""
    name, shape = str(parts["type"]), parts["course"]
    course = Course(
        _number(shape["typical"], 1, 1e9),
        _number(shape["step"], 1, 1e6),
        tuple(_number(one, -2, 3) for one in _listed(shape["shape"])),
    )
    if len(course.shape) != len(course.knots):
        raise ValueError(f"the effect of {name!r} has {len(course.shape)} knots, expected {len(course.knots)}")
    return TypeEffect(name, course, tuple(_measured(one) for one in _listed(parts["measured"])))


def _measured(parts: dict[str, Any]) -> MeasuredEvent:
    magnitude = parts["magnitude"]
    return MeasuredEvent(
        _number(parts["start"], -1e11, 1e11),
        _number(parts["end"], -1e11, 1e11),
        _number(parts["amplitude"], -4, 4),
        parts["weekend"] is True,
        None if magnitude is None else _number(magnitude, 0, 1e6),
    )


def _bands(parts: dict[str, Any]) -> Bands:
    found = tuple(_number(one, -1e3, 1e3) for one in _listed(parts["scores"]))
    if len(found) != len(QUANTILES) or list(found) != sorted(found):
        raise ValueError(f"bands near events have {len(QUANTILES)} ascending scores: {found}")
    variances = _number(parts["hour"], 0, 1e3), _number(parts["change"], 0, 1e3)
    return Bands(*variances, found, int(_number(parts["samples"], 0, 1e12)))


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, found {value!r}")
    return cast("list[Any]", value)


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"a number between {low:g} and {high:g} was expected, found {value!r}")
    return float(value)
