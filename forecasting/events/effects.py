"""The learned effects of each type of event, and their timeline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from forecasting.context import Context, KnownEvent
from forecasting.events.amplitude import LearnedEffect, MeasuredEvent, Traits, expected_amplitude, learned_effect
from forecasting.events.course import Course
from forecasting.series import FloatArray, Series

_MIN_EFFECT = -1.0
"""Where events reduce demand by more than this log effect, the demand without them cannot be recovered."""
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class TypeEffect:
    """The effect of a type of event: its course, and the measured past events, oldest first."""

    type: str
    course: Course
    measured: tuple[MeasuredEvent, ...]

    def amplitude(self, event: KnownEvent, zone: tzinfo) -> float | None:
        """Return the expected amplitude of an event, from the events that ended before it started; None without any."""
        start = event.start.timestamp()
        earlier = tuple(measured for measured in self.measured if measured.end <= start)
        return expected_amplitude(earlier, traits_of(event, zone))


@dataclass(frozen=True, slots=True)
class Timeline:
    """For each bin, the expected effect of events and whether an event is near. All shapes (bins,).

    effect: logarithm of the multiplier of demand. owner: the event with the strongest effect on a bin, as a position in
    the order of start; -1 for none.
    """

    effect: FloatArray
    near: npt.NDArray[np.bool_]
    owner: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, bins: int) -> "Timeline":
        """Return a timeline without events."""
        return cls(np.zeros(bins), np.zeros(bins, bool), np.full(bins, -1, np.int64))


@dataclass(frozen=True, slots=True)
class Effects:
    """The learned effects, sorted by type."""

    types: tuple[TypeEffect, ...]

    def of_type(self, type_: str) -> TypeEffect | None:
        """Return the effect of a type; None if it was not learned."""
        return next((effect for effect in self.types if effect.type == type_), None)

    def learned_effect(self, event: KnownEvent, zone: tzinfo) -> LearnedEffect | None:
        """Return the expected effect of an event, from all measured events; None if its type was not learned."""
        effect = self.of_type(event.type)
        if effect is None:
            return None
        return learned_effect(effect.measured, traits_of(event, zone))

    def timeline(self, start: float, step: float, bins: int, context: Context) -> Timeline:
        """Return the timeline of `bins` bins from `start` (epoch seconds) on. step: seconds.

        Where events of the same type overlap, the stronger counts; where events of different types overlap, both count:
        a second sale in an afternoon does not double demand again, but a sale during a match does.
        """
        timeline = Timeline.empty(bins)
        middles = (start + (np.arange(bins) + 0.5) * step).astype(np.float64)
        events = sorted_events(context.events)
        for effect in self.types:
            strongest = np.zeros(bins)
            for index, event in enumerate(events):
                if event.type != effect.type or not _overlaps(effect.course.span(event), start, start + bins * step):
                    continue
                amplitude = effect.amplitude(event, context.zone)
                if amplitude is not None:
                    _add_event(timeline, strongest, middles, effect.course, (index, event, amplitude))
            timeline.effect[:] += strongest
        return timeline

    def series_timeline(self, series: Series) -> Timeline:
        """Return the timeline of the bins of a series."""
        step = series.step.total_seconds()
        return self.timeline(series.start.timestamp(), step, len(series.values), series.context)


def without_effect(values: FloatArray, effect: FloatArray) -> FloatArray:
    """Return demand without the effects of events; NaN where it cannot be recovered."""
    return np.where(effect > _MIN_EFFECT, values / np.exp(effect), np.nan)


def sorted_events(events: Iterable[KnownEvent]) -> Sequence[KnownEvent]:
    """Return distinct events ordered by start; the order of the input does not matter."""
    return sorted(set(events), key=lambda event: (event.start, event.end, event.type, event.magnitude or 0.0))


def traits_of(event: KnownEvent, zone: tzinfo) -> Traits:
    """Return what is known about an event before it starts, in a time zone."""
    start = event.start.astimezone(zone)
    return Traits(start.weekday() >= _SATURDAY, start.hour + start.minute / 60, event.magnitude)


def _overlaps(span: tuple[float, float], start: float, end: float) -> bool:
    return span[0] < end and span[1] > start


def _add_event(
    timeline: Timeline,
    strongest: FloatArray,
    middles: FloatArray,
    course: Course,
    expected: tuple[int, KnownEvent, float],
) -> None:
    """Add an event to a timeline and to the strongest effects of its type. expected: index, event, amplitude."""
    index, event, amplitude = expected
    begin, end = course.span(event)
    part = slice(*np.searchsorted(middles, [begin, end]))
    clock = course.clock(event, middles[part])
    effect = amplitude * course.share_at(clock)
    stronger = (np.abs(effect) > np.abs(strongest[part])) | (timeline.owner[part] < 0)
    strongest[part] = np.where(stronger, effect, strongest[part])
    timeline.owner[part] = np.where(stronger, index, timeline.owner[part])
    timeline.near[part] = True
