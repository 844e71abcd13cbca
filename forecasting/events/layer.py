"""The event layer: models are trained on and forecast demand without events; the layer adds the effects of events.

A model that sees yesterday's sale would forecast a sale for today, and a model that forecasts during a sale would not
expect it to end. So the input of a model is divided by the expected effects of past events, and its forecast is
multiplied by the expected effects of future events.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from forecasting.events.amplitude import MeasuredEvent, Traits
from forecasting.events.bands import Bands
from forecasting.events.course import Course
from forecasting.events.effects import Effects, Timeline, TypeEffect, without_effect
from forecasting.forecast import QUANTILES
from forecasting.panel import IntArray, Origins, Panel
from forecasting.series import FloatArray, Series

Scalar = TypeVar("Scalar", bound=np.generic)
_MAX_CHARACTERS = 2_000_000
_ORIGIN_BINS = 3


@dataclass(frozen=True, slots=True)
class EventLayer:
    """The effects and bands of the events of a series. bands: None if there were too few forecasts near events."""

    effects: Effects
    bands: Bands | None = None

    def on_panel(self, panel: Panel, ahead: int) -> "PanelEvents":
        """Return the timelines of a panel, extended by `ahead` bins after the end of each series."""
        starts = panel.ends - panel.bins * panel.step
        timelines = [
            self.effects.timeline(float(start), float(panel.step), panel.bins + ahead, context)
            for start, context in zip(starts, panel.contexts, strict=True)
        ]
        return PanelEvents(panel, tuple(timelines), self.bands)

    def without_events(self, series: Series) -> Series:
        """Return the series without the effects of its events."""
        return replace(series, values=without_effect(series.values, self.effects.series_timeline(series).effect))

    def text(self) -> str:
        """Return the layer as JSON."""
        types = [
            {
                "type": effect.type,
                "course": asdict(effect.course) | {"knots": effect.course.knots.tolist()},
                "measured": [_measured_parts(event) for event in effect.measured],
            }
            for effect in self.effects.types
        ]
        return json.dumps({"types": types, "bands": asdict(self.bands) if self.bands else None}, allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> "EventLayer":
        """Return the layer that `text` has serialized. Raises ValueError for any other text."""
        if len(text) > _MAX_CHARACTERS:
            raise ValueError(f"learned effects of events have {len(text)} characters, more than {_MAX_CHARACTERS}")
        try:
            parts = json.loads(text)
            types = tuple(_type_effect(effect) for effect in _as_list(parts["types"]))
            bands = _bands(parts["bands"]) if parts["bands"] else None
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"learned effects of events must have types and bands: {error}") from None
        return cls(Effects(types), bands)


@dataclass(frozen=True, slots=True)
class PanelEvents:
    """A panel with the timeline of each row."""

    panel: Panel
    timelines: tuple[Timeline, ...]
    bands: Bands | None

    def without_events(self) -> Panel:
        """Return the panel without the effects of its events."""
        bins = self.panel.bins
        values = [
            without_effect(row, timeline.effect[:bins])
            for row, timeline in zip(self.panel.values, self.timelines, strict=True)
        ]
        return replace(self.panel, values=np.stack(values))

    def near(self, origins: Origins, horizons: IntArray) -> npt.NDArray[np.bool_]:
        """Return whether each target is near an event with a learned effect: shape (origins, horizons)."""
        return _at_targets([timeline.near for timeline in self.timelines], origins, horizons)

    def change(self, origins: Origins, horizons: IntArray) -> FloatArray:
        """Return the log effect at each target minus the log effect at its origin: shape (origins, horizons)."""
        target = _at_targets([timeline.effect for timeline in self.timelines], origins, horizons)
        sums = np.stack([np.concatenate([[0.0], np.cumsum(timeline.effect)]) for timeline in self.timelines])
        since = np.maximum(origins.cols - _ORIGIN_BINS, 0)
        width = np.maximum(origins.cols - since, 1)
        return target - ((sums[origins.rows, origins.cols] - sums[origins.rows, since]) / width)[:, None]

    def owner(self, origins: Origins, horizons: IntArray) -> IntArray:
        """Return the event with the strongest effect on each target: shape (origins, horizons); -1 for none."""
        return _at_targets([timeline.owner for timeline in self.timelines], origins, horizons)

    def apply(self, values: FloatArray, origins: Origins, horizons: IntArray) -> FloatArray:
        """Return forecasts with the effects of events, and near events with their bands.

        values: forecasts without events, shape (origins, horizons, len(QUANTILES)). Others are unchanged.
        """
        effect = _at_targets([timeline.effect for timeline in self.timelines], origins, horizons)
        near = self.near(origins, horizons)
        with_effects = np.where(near[:, :, None], values * np.exp(effect)[:, :, None], values)
        if self.bands is None or not near.any():
            return with_effects
        minutes = (horizons * (self.panel.step / 60)).astype(np.float64)
        median = with_effects[:, :, QUANTILES.index(0.5)]
        around_median = self.bands.around(
            median, np.broadcast_to(minutes, median.shape), self.change(origins, horizons)
        )
        return np.where(near[:, :, None], around_median, with_effects)


def _at_targets(rows: list[npt.NDArray[Scalar]], origins: Origins, horizons: IntArray) -> npt.NDArray[Scalar]:
    """Return the values of rows at the targets: shape (origins, horizons)."""
    return np.stack(rows)[origins.rows[:, None], origins.cols[:, None] + horizons - 1]


def _type_effect(parts: dict[str, Any]) -> TypeEffect:
    """Return a type effect from parsed JSON. Raises ValueError, KeyError or TypeError if it is invalid."""
    name, shape = str(parts["type"]), parts["course"]
    unshaped = Course(_number(shape["typical"], 1, 1e9), _number(shape["step"], 1, 1e6), ())
    shares = [_number(share, -2, 3) for share in _as_list(shape["shape"])]
    # Layers of older versions have no knots of their own.
    stated = _as_list(shape["knots"]) if "knots" in shape else unshaped.wide_knots.tolist()
    knots = [_number(knot, -1e10, 1e10) for knot in stated]
    if len(shares) != len(knots):
        raise ValueError(f"the effect of {name!r} has {len(shares)} knots, expected {len(knots)}")
    if sorted(set(knots)) != knots or not knots:
        raise ValueError(f"the knots of the effect of {name!r} must be ascending")
    course = replace(unshaped, shape=tuple(np.interp(unshaped.knots, knots, shares).tolist()))
    return TypeEffect(name, course, tuple(_measured_event(event) for event in _as_list(parts["measured"])))


def _measured_parts(event: MeasuredEvent) -> dict[str, Any]:
    return {"start": event.start, "end": event.end, "amplitude": event.amplitude, **asdict(event.traits)}


def _measured_event(parts: dict[str, Any]) -> MeasuredEvent:
    # Layers of older versions have no hours.
    magnitude, hour = parts["magnitude"], parts.get("hour")
    return MeasuredEvent(
        _number(parts["start"], -1e11, 1e11),
        _number(parts["end"], -1e11, 1e11),
        _number(parts["amplitude"], -4, 4),
        Traits(
            parts["weekend"] is True,
            None if hour is None else _number(hour, 0, 24),
            None if magnitude is None else _number(magnitude, 0, 1e6),
        ),
    )


def _bands(parts: dict[str, Any]) -> Bands:
    scores = tuple(_number(score, -1e3, 1e3) for score in _as_list(parts["scores"]))
    if len(scores) != len(QUANTILES) or list(scores) != sorted(scores):
        raise ValueError(f"bands near events must have {len(QUANTILES)} ascending scores, not {scores}")
    variances = _number(parts["hour"], 0, 1e3), _number(parts["change"], 0, 1e3)
    return Bands(*variances, scores, int(_number(parts["samples"], 0, 1e12)))


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r}")
    return cast("list[Any]", value)


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"expected a number between {low:g} and {high:g}, got {value!r}")
    return float(value)
