"""What is known of the effects of each type of event, and what that means along a time line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import tzinfo

import numpy as np
import numpy.typing as npt

from forecasting.context import Context, KnownEvent
from forecasting.events.amplitude import LearnedEffect, MeasuredEvent, expected_amplitude, learned_effect
from forecasting.events.course import Course
from forecasting.series import FloatArray, Series

_GONE = -1.0
"""Where an event takes more than this (in logs) away, what is left says nothing of the demand without it."""
_SATURDAY = 5


@dataclass(frozen=True, slots=True)
class TypeEffect:
    """Of one type: its course, and the sizes of the events that were, oldest first."""

    type: str
    course: Course
    measured: tuple[MeasuredEvent, ...]

    def amplitude(self, event: KnownEvent, zone: tzinfo) -> float | None:
        """What to expect of an event, from those that were over before it began; None where none was."""
        begin = event.start.timestamp()
        earlier = tuple(one for one in self.measured if one.end <= begin)
        return expected_amplitude(earlier, starts_on_weekend(event, zone), event.magnitude)


@dataclass(frozen=True, slots=True)
class Timeline:
    """For each bin the logarithm of what events are expected to multiply demand by, and whether one is near.

    All shapes (bins,). owner: the event that rules a bin, as a position in the order of start; -1 for none.
    """

    effect: FloatArray
    near: npt.NDArray[np.bool_]
    owner: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, bins: int) -> "Timeline":
        """Without events."""
        return cls(np.zeros(bins), np.zeros(bins, bool), np.full(bins, -1, np.int64))


@dataclass(frozen=True, slots=True)
class Effects:
    """By type, sorted."""

    types: tuple[TypeEffect, ...]

    def of_type(self, type_: str) -> TypeEffect | None:
        """Of one type; None where nothing was learned of it."""
        return next((one for one in self.types if one.type == type_), None)

    def learned_effect(self, event: KnownEvent, zone: tzinfo) -> LearnedEffect | None:
        """What an event may be expected to do, from all that were measured; None where its type is not known."""
        known = self.of_type(event.type)
        if known is None:
            return None
        return learned_effect(known.measured, weekend=starts_on_weekend(event, zone), magnitude=event.magnitude)

    def timeline(self, start: float, step: float, bins: int, context: Context) -> Timeline:
        """Of bins from `start` (epoch seconds) on.

        Events of one type that overlap count as the stronger one, of different types as both: the second sale of an
        afternoon does not double demand once more, but a sale within a match does.
        """
        found = Timeline.empty(bins)
        middles = (start + (np.arange(bins) + 0.5) * step).astype(np.float64)
        events = sorted_events(context.events)
        for known in self.types:
            strongest = np.zeros(bins)
            for at, event in enumerate(events):
                if event.type != known.type or not _meets(known.course.span(event), start, start + bins * step):
                    continue
                amplitude = known.amplitude(event, context.zone)
                if amplitude is not None:
                    _mark(found, strongest, middles, known.course, (at, event, amplitude))
            found.effect[:] += strongest
        return found

    def series_timeline(self, series: Series) -> Timeline:
        """Of the bins of a series."""
        step = series.step.total_seconds()
        return self.timeline(series.start.timestamp(), step, len(series.values), series.context)


def without_effect(values: FloatArray, effect: FloatArray) -> FloatArray:
    """Demand as it would have been without its events; NaN where next to nothing was left to tell."""
    return np.where(effect > _GONE, values / np.exp(effect), np.nan)


def sorted_events(events: Iterable[KnownEvent]) -> Sequence[KnownEvent]:
    """By start; whatever order they come in is the same."""
    return sorted(set(events), key=lambda one: (one.start, one.end, one.type, one.magnitude or 0.0))


def starts_on_weekend(event: KnownEvent, zone: tzinfo) -> bool:
    """Whether it starts on a Saturday or Sunday, on the clocks of the zone."""
    return event.start.astimezone(zone).weekday() >= _SATURDAY


def _meets(span: tuple[float, float], start: float, end: float) -> bool:
    return span[0] < end and span[1] > start


def _mark(
    found: Timeline, strongest: FloatArray, middles: FloatArray, course: Course, ruling: tuple[int, KnownEvent, float]
) -> None:
    at, event, amplitude = ruling
    begin, end = course.span(event)
    part = slice(*np.searchsorted(middles, [begin, end]))
    clock = course.clock(event, middles[part])
    share = amplitude * course.share_at(clock)
    stronger = (np.abs(share) > np.abs(strongest[part])) | (found.owner[part] < 0)
    strongest[part] = np.where(stronger, share, strongest[part])
    found.owner[part] = np.where(stronger, at, found.owner[part])
    found.near[part] = True
