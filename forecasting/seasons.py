"""Detection of the seasons of a series: weeks, days, hours, and any other period, such as that of a timer.

A season must predict: the mean of the other cycles at the same phase must explain a share of the variance of each cycle
(out of sample, so noise scores below zero). Variation slower than the season is removed first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.calendars.wall_time import WallTime
from forecasting.panel import IntArray, Panel
from forecasting.series import FloatArray, Series

_USUAL_MINUTES = (10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440, 10_080)
"""Usual periods of people and timers, in minutes."""
_DAY, _WEEK = 86_400, 604_800
_MIN_BINS = 3
_MIN_CYCLES = 2
_MIN_STRENGTH, _MIN_STRENGTH_TIMES_CYCLES = 0.05, 1.5
_MIN_UNUSUAL_STRENGTH, _MIN_UNUSUAL_STRENGTH_TIMES_CYCLES = 0.1, 3.0
"""Minimum strength of a season: a constant, plus a term divided by the number of cycles. Both are higher for unusual
periods, because they are chosen among many."""
_SIMILAR_RATIO = 0.9
_MIN_GAIN = 0.03
_MAX_PEAKS = 24
_MAX_DISTANCE = 4.0
_OFFSET_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Season:
    """A season. strength: the share of the variance faster than the period that the season explains, up to 1."""

    period: timedelta
    strength: float


def seasons(series: Series) -> tuple[Season, ...]:
    """Return the seasons of a series, shortest first; empty without repetition or with too little demand.

    At least two cycles must be observed; with fewer cycles, the season must be stronger. Days and weeks are local to
    the time zone of the series. Multiples of a season that explain no more and divisors that explain less are left out.
    """
    observed = _ObservedDemand.of(series)
    if observed is None:
        return ()
    strengths = {period: observed.strength(period, period) for period in observed.candidates()}
    likely = [
        period for period, strength in strengths.items() if strength >= _min_strength(period, observed.cycles(period))
    ]
    periods: list[int] = []
    for period in sorted(likely):
        is_multiple = any(period % shorter == 0 and not observed.explains_more(period, shorter) for shorter in periods)
        is_divisor = any(longer % period == 0 and not observed.is_as_good(period, longer) for longer in likely)
        if not is_multiple and not is_divisor and not _is_close(period, periods):
            periods.append(period)
    independent = _independent(observed, sorted(periods, key=lambda period: -strengths[period]))
    return tuple(Season(timedelta(seconds=period), round(strengths[period], 3)) for period in sorted(independent))


def _independent(observed: "_ObservedDemand", periods: list[int]) -> list[int]:
    """Return the periods that explain variation beyond stronger, unrelated periods.

    60 minutes, for example, may be an artifact of 100 minutes, because both are multiples of 20.
    """
    kept: list[int] = []
    for period in periods:
        unrelated = [other for other in kept if other % period and period % other]
        min_strength = _min_strength(period, observed.cycles(period))
        if not unrelated or observed.strength(period, period, unrelated) >= min_strength:
            kept.append(period)
    return kept


def _min_strength(period: int, cycles: float) -> float:
    is_usual = period in (60 * minutes for minutes in _USUAL_MINUTES)
    if is_usual:
        return _MIN_STRENGTH + _MIN_STRENGTH_TIMES_CYCLES / cycles
    return _MIN_UNUSUAL_STRENGTH + _MIN_UNUSUAL_STRENGTH_TIMES_CYCLES / cycles


@dataclass(frozen=True, slots=True)
class _ObservedDemand:
    """The demand of a series: its logarithms, the local time of each bin in seconds, and the step in seconds."""

    logs: FloatArray
    seconds: IntArray
    step: int

    @classmethod
    def of(cls, series: Series) -> "_ObservedDemand | None":
        """Return the demand of a series; None if it is constant, zero or unobserved."""
        panel = Panel.of([series])
        (values,) = panel.values
        known = values[np.isfinite(values)]
        if not len(known) or not known.any() or known.min() == known.max():
            return None
        wall = WallTime.of(panel, np.zeros(1, dtype=np.int64), np.arange(panel.bins))
        return cls(np.log(values + _OFFSET_SHARE * known.mean()), wall.seconds, panel.step)

    def cycles(self, period: int) -> float:
        """Return the number of observed cycles of a period."""
        return float(np.isfinite(self.logs).sum() * self.step / period)

    def candidates(self) -> list[int]:
        """Return candidate periods in seconds, ascending: usual periods and peaks of the periodogram below a day."""
        usual = [60 * minutes for minutes in _USUAL_MINUTES]
        periods = sorted({*usual, *(peak for peak in self._peaks() if not _is_close(peak, usual))})
        return [period for period in periods if period >= _MIN_BINS * self.step and self.cycles(period) >= _MIN_CYCLES]

    def strength(self, period: int, window: int, without: Sequence[int] = ()) -> float:
        """Return the share of the variance faster than `window` that the phase in `period` explains, out of sample.

        without: periods whose means are subtracted first.
        """
        fast = self._faster_than(window)
        known = np.isfinite(fast)
        fast, seconds = fast[known], self.seconds[known]
        for other in without:
            phases = (seconds % other) // self.step
            fast = fast - (np.bincount(phases, fast) / np.maximum(np.bincount(phases), 1))[phases]
        phases = (seconds % period) // self.step
        sums, counts = np.bincount(phases, fast), np.bincount(phases)
        others = counts[phases] - 1
        predicted = np.where(others > 0, (sums[phases] - fast) / np.maximum(others, 1), 0.0)
        variance = float((fast**2).sum())
        return 1 - float(((fast - predicted) ** 2).sum()) / variance if variance > 0 else 0.0

    def explains_more(self, longer: int, shorter: int) -> bool:
        """Return whether a multiple of a period explains more than the period."""
        strength_of_longer, strength_of_shorter = self.strength(longer, longer), self.strength(shorter, longer)
        min_gain = max(_MIN_GAIN, (1 - _SIMILAR_RATIO) * strength_of_longer)
        return strength_of_longer - strength_of_shorter > min_gain

    def is_as_good(self, shorter: int, longer: int) -> bool:
        """Return whether a divisor of a period explains fast variation as well as the period."""
        return self.strength(shorter, shorter) >= _SIMILAR_RATIO * self.strength(longer, shorter)

    def _faster_than(self, window: int) -> FloatArray:
        """Return the logarithms minus the mean of the window around each bin, with outliers clipped."""
        width = max(2, window // self.step)
        sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(self.logs))])
        counts = np.concatenate([[0], np.cumsum(np.isfinite(self.logs))])
        bins = np.arange(len(self.logs))
        begin = np.clip(bins - width // 2, 0, max(0, len(bins) - width))
        end = np.minimum(begin + width, len(bins))
        mean = (sums[end] - sums[begin]) / np.maximum(counts[end] - counts[begin], 1)
        fast = self.logs - mean
        limit = _MAX_DISTANCE * float(np.nanstd(fast))
        return np.clip(fast, -limit, limit)

    def _peaks(self) -> list[int]:
        """Return the periods in seconds of the highest peaks of the periodogram below a day."""
        fast = np.nan_to_num(self._faster_than(_DAY))
        power = np.abs(np.fft.rfft(fast)) ** 2
        inner = np.flatnonzero((power[1:-1] > power[:-2]) & (power[1:-1] > power[2:])) + 1
        strongest = inner[np.argsort(-power[inner])][:_MAX_PEAKS]
        periods = {round(len(fast) / int(frequency)) * self.step for frequency in strongest}
        return sorted(period for period in periods if period < _DAY)[:_MAX_PEAKS]


def _is_close(period: int, others: list[int]) -> bool:
    """Return whether a period differs from another period by at most 5 %."""
    return any(abs(period - other) <= 0.05 * other for other in others)
