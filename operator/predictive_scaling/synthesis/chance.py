"""Chance that depends on the seed, the service and the moment only: a longer span says the same of what it shares."""

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.synthesis.timeline import FloatArray, Timeline

_REACH = 4
"""Widths after which what is smoothed is forgotten."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What happens to one service of one seed. `purpose` names what is drawn: different ones are independent."""

    seed: int
    service: str

    def between(self, purpose: str, low: float, high: float) -> float:
        """One number for the service."""
        return float(self._generator(purpose, 0).uniform(low, high))

    def on(self, purpose: str, moment: datetime) -> np.random.Generator:
        """The dice of one day."""
        return self._generator(purpose, moment.toordinal())

    def uniform(self, purpose: str, timeline: Timeline) -> FloatArray:
        """A number in [0, 1) for each bin: shape (bins,)."""
        return self._drawn(purpose, timeline, timeline.first, timeline.bins, normal=False)

    def normal(self, purpose: str, timeline: Timeline) -> FloatArray:
        """Independent standard normal numbers: shape (bins,)."""
        return self._drawn(purpose, timeline, timeline.first, timeline.bins, normal=True)

    def drifting(self, purpose: str, timeline: Timeline, width: timedelta) -> FloatArray:
        """Standard normal numbers whose likeness fades over `width`: shape (bins,)."""
        taps = np.arange(_REACH * timeline.bins_of(width))
        weights = np.exp(-taps / timeline.bins_of(width))
        weights /= np.sqrt((weights**2).sum())
        before = len(taps) - 1
        white = self._drawn(purpose, timeline, timeline.first - before, timeline.bins + before, normal=True)
        return np.convolve(white, weights, mode="valid").astype(np.float64)

    def _drawn(self, purpose: str, timeline: Timeline, first: int, bins: int, *, normal: bool) -> FloatArray:
        """Drawn a day at a time, so that a day is the same in whatever span it lies."""
        width = timeline.bins_in_a_day
        days = range(first // width, (first + bins - 1) // width + 1)
        generator = [self._generator(f"{purpose}/{width}", day + _EPOCH_ORDINAL) for day in days]
        drawn = [one.standard_normal(width) if normal else one.random(width) for one in generator]
        skipped = first - days[0] * width
        return np.concatenate(drawn)[skipped : skipped + bins]

    def _generator(self, purpose: str, day: int) -> np.random.Generator:
        words = [zlib.crc32(word.encode()) for word in (self.service, purpose)]
        return np.random.default_rng([self.seed, *words, day])


_EPOCH_ORDINAL = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 (a day's number has no zone)
