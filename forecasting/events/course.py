"""The course of an event's effect: how much of it is there before, during and after, whatever its size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.context import KnownEvent
from forecasting.series import FloatArray

_HOUR = 3600.0
_KNOT_SECONDS = 900.0
_MAX_DURING = 11
_CORE_FROM = 0.1


@dataclass(frozen=True, slots=True)
class Course:
    """A line between knots, in seconds on a clock that is 0 at the start and `typical` at the end of every event.

    Longer and shorter events pass it faster and slower between start and end only. typical: seconds. step: seconds of
    a bin. shape: at each of `knots`, 1 where all of the effect is there; 0 outside.
    """

    typical: float
    step: float
    shape: tuple[float, ...]

    @classmethod
    def default(cls, typical: float, step: float) -> "Course":
        """Before anything was learned: rising before the start, all of it until the end, then fading."""
        empty = cls(typical, step, ())
        turns = [-empty.before, 0.0, 0.15 * typical, typical, typical + empty.after / 3, typical + empty.after]
        return cls(typical, step, tuple(np.interp(empty.knots, turns, [0.0, 0.4, 1.0, 1.0, 0.4, 0.0]).tolist()))

    @property
    def before(self) -> float:
        """Seconds before the start that an event may be felt."""
        return float(np.clip(self.typical / 2, 2 * self.step, max(_HOUR, 2 * self.step)))

    @property
    def after(self) -> float:
        """Seconds after the end that an event may be felt."""
        return float(np.clip(1.5 * self.typical, 4 * self.step, max(3 * _HOUR, 4 * self.step)))

    @property
    def knots(self) -> FloatArray:
        """Ascending, from -before to typical + after."""
        apart = max(_KNOT_SECONDS, self.step)
        ahead = np.linspace(-self.before, 0, max(1, round(self.before / apart)) + 1)
        during = np.linspace(0, self.typical, int(np.clip(self.typical // self.step, 1, _MAX_DURING)) + 1)
        after = np.linspace(self.typical, self.typical + self.after, max(1, round(self.after / apart)) + 1)
        return np.concatenate([ahead[:-1], during, after[1:]])

    def span(self, event: KnownEvent) -> tuple[float, float]:
        """Epoch seconds between which an event may be felt."""
        return event.start.timestamp() - self.before, event.end.timestamp() + self.after

    def clock(self, event: KnownEvent, times: FloatArray) -> FloatArray:
        """Times (epoch seconds) on the course's clock."""
        begin, end = event.start.timestamp(), event.end.timestamp()
        within = (times - begin) / max(end - begin, 1.0) * self.typical
        return np.where(times < begin, times - begin, np.where(times < end, within, self.typical + times - end))

    def share_at(self, clock: FloatArray) -> FloatArray:
        """How much of the effect is there; 0 outside."""
        return np.interp(clock, self.knots, np.array(self.shape), left=0.0, right=0.0)

    def weights(self, clock: FloatArray) -> FloatArray:
        """The share of each knot in `at`: shape (times, knots)."""
        knots = self.knots
        inside = (clock >= knots[0]) & (clock <= knots[-1])
        right = np.clip(np.searchsorted(knots, clock, side="right"), 1, len(knots) - 1)
        share = (clock - knots[right - 1]) / (knots[right] - knots[right - 1])
        found = np.zeros((len(clock), len(knots)))
        rows = np.arange(len(clock))
        found[rows, right - 1], found[rows, right] = 1 - share, share
        return found * inside[:, None]

    def is_core(self, clock: FloatArray) -> npt.NDArray[np.bool_]:
        """Where an event is measured: from shortly after its start to its end."""
        return (clock >= _CORE_FROM * self.typical) & (clock < self.typical)
