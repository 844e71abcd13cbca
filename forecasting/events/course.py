"""The time course of the effect of an event: its share before, during and after the event, independent of its size."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.context import KnownEvent
from forecasting.events.baseline import interpolation_weights
from forecasting.series import FloatArray

_HOUR = 3600.0
_KNOT_SECONDS = 900.0
_MAX_DURING = 11
_EDGE_SECONDS, _EDGE_KNOTS = 300.0, 3
"""Distance of the knots around the start and the end, and their number on each side."""
_CORE_START = 0.1


@dataclass(frozen=True, slots=True)
class Course:
    """Linear interpolation between knots, on a clock that is 0 at the start and `typical` at the end of an event.

    Between start and end the clock runs slower for longer events and faster for shorter events. typical: seconds.
    step: seconds of a bin. shape: the share of the effect at each of `knots`, 1 for the full effect; 0 outside.
    """

    typical: float
    step: float
    shape: tuple[float, ...]

    @classmethod
    def default(cls, typical: float, step: float) -> "Course":
        """Return the default course: rising before the start, the full effect until the end, then declining."""
        unshaped = cls(typical, step, ())
        corners = [
            -unshaped.before,
            0.0,
            0.15 * typical,
            typical,
            typical + unshaped.after / 3,
            typical + unshaped.after,
        ]
        return cls(typical, step, tuple(np.interp(unshaped.knots, corners, [0.0, 0.4, 1.0, 1.0, 0.4, 0.0]).tolist()))

    @property
    def before(self) -> float:
        """Seconds before the start in which an event may have an effect."""
        return float(np.clip(self.typical / 2, 2 * self.step, max(_HOUR, 2 * self.step)))

    @property
    def after(self) -> float:
        """Seconds after the end in which an event may have an effect."""
        return float(np.clip(1.5 * self.typical, 4 * self.step, max(3 * _HOUR, 4 * self.step)))

    @property
    def knots(self) -> FloatArray:
        """Positions of the knots, ascending from -before to typical + after.

        They are closest around the start and the end, where demand changes fastest: a rush as a match ends would be
        smoothed away between knots a quarter of an hour apart.
        """
        distance = max(_EDGE_SECONDS, self.step)
        offsets = (np.arange(-_EDGE_KNOTS, _EDGE_KNOTS + 1) * distance).astype(np.float64)
        at_start = offsets[(offsets >= -self.before) & (offsets <= self.typical / 2)]
        at_end = self.typical + offsets[(offsets > -self.typical / 2) & (offsets <= self.after)]
        edges = np.concatenate([at_start, at_end])
        wide = self.wide_knots
        is_apart = np.abs(wide[:, None] - edges).min(axis=1) > distance / 2
        is_apart[[0, -1]] = True
        return np.unique(np.concatenate([wide[is_apart], edges]))

    @property
    def wide_knots(self) -> FloatArray:
        """The knots without the closer ones around the start and the end: all knots of courses of earlier versions."""
        distance = max(_KNOT_SECONDS, self.step)
        ahead = np.linspace(-self.before, 0, max(1, round(self.before / distance)) + 1)
        during = np.linspace(0, self.typical, int(np.clip(self.typical // self.step, 1, _MAX_DURING)) + 1)
        after = np.linspace(self.typical, self.typical + self.after, max(1, round(self.after / distance)) + 1)
        return np.concatenate([ahead[:-1], during, after[1:]])

    def span(self, event: KnownEvent) -> tuple[float, float]:
        """Return the epoch seconds between which an event may have an effect."""
        return event.start.timestamp() - self.before, event.end.timestamp() + self.after

    def clock(self, event: KnownEvent, times: FloatArray) -> FloatArray:
        """Return epoch seconds as times on the clock of the course."""
        begin, end = event.start.timestamp(), event.end.timestamp()
        within = (times - begin) / max(end - begin, 1.0) * self.typical
        return np.where(times < begin, times - begin, np.where(times < end, within, self.typical + times - end))

    def share_at(self, clock: FloatArray) -> FloatArray:
        """Return the share of the effect at times on the clock; 0 outside."""
        return np.interp(clock, self.knots, np.array(self.shape), left=0.0, right=0.0)

    def weights(self, clock: FloatArray) -> FloatArray:
        """Return the weight of each knot in `share_at`: shape (times, knots)."""
        knots = self.knots
        inside = (clock >= knots[0]) & (clock <= knots[-1])
        return interpolation_weights(clock, knots) * inside[:, None]

    def is_core(self, clock: FloatArray) -> npt.NDArray[np.bool_]:
        """Return where an event is measured: from shortly after its start to its end."""
        return (clock >= _CORE_START * self.typical) & (clock < self.typical)
