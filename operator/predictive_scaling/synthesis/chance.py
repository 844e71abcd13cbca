"""Random numbers that depend on seed, service, purpose and time only: spans of any length agree where they overlap."""

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.synthesis.timeline import FloatArray, Timeline

_KERNEL_WIDTHS = 4
"""Length of the smoothing kernel, in widths."""


@dataclass(frozen=True, slots=True)
class Chance:
    """The random numbers of a service. Numbers of different purposes are independent."""

    seed: int
    service: str

    def between(self, purpose: str, low: float, high: float) -> float:
        """A uniform number for the service."""
        return float(self._generator(purpose, 0).uniform(low, high))

    def on(self, purpose: str, moment: datetime) -> np.random.Generator:
        """The random generator of a day."""
        return self._generator(purpose, moment.toordinal())

    def uniform(self, purpose: str, timeline: Timeline) -> FloatArray:
        """Uniform numbers in [0, 1): shape (bins,)."""
        return self._draw(purpose, timeline, timeline.first, timeline.bins, normal=False)

    def normal(self, purpose: str, timeline: Timeline) -> FloatArray:
        """Independent standard normal numbers: shape (bins,)."""
        return self._draw(purpose, timeline, timeline.first, timeline.bins, normal=True)

    def drifting(self, purpose: str, timeline: Timeline, width: timedelta) -> FloatArray:
        """Standard normal numbers whose autocorrelation decays over `width`: shape (bins,)."""
        taps = np.arange(_KERNEL_WIDTHS * timeline.bins_of(width))
        weights = np.exp(-taps / timeline.bins_of(width))
        weights /= np.sqrt((weights**2).sum())
        before = len(taps) - 1
        white = self._draw(purpose, timeline, timeline.first - before, timeline.bins + before, normal=True)
        return np.convolve(white, weights, mode="valid").astype(np.float64)

    def _draw(self, purpose: str, timeline: Timeline, first: int, bins: int, *, normal: bool) -> FloatArray:
        """Draw a day at a time, so that the numbers of a day do not depend on the span."""
        width = timeline.bins_per_day
        days = range(first // width, (first + bins - 1) // width + 1)
        generators = [self._generator(f"{purpose}/{width}", day + _EPOCH_ORDINAL) for day in days]
        draws = [generator.standard_normal(width) if normal else generator.random(width) for generator in generators]
        skipped = first - days[0] * width
        return np.concatenate(draws)[skipped : skipped + bins]

    def _generator(self, purpose: str, day: int) -> np.random.Generator:
        words = [zlib.crc32(word.encode()) for word in (self.service, purpose)]
        return np.random.default_rng([self.seed, *words, day])


_EPOCH_ORDINAL = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 (a day's number has no zone)
