"""The seasons of a series, found in its values: weeks, days, hours, and what a timer repeats at any other distance.

A season is what predicts: the mean of the other cycles at the same phase must take a share off the variance of each
cycle (out of sample, so noise scores below zero), within what is quicker than the season itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.calendars.wall_time import WallTime
from forecasting.panel import IntArray, Panel
from forecasting.series import FloatArray, Series

_MINUTES = (10, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440, 10_080)
"""Periods that people and timers have, in minutes."""
_DAY, _WEEK = 86_400, 604_800
_MIN_BINS = 3
_MIN_CYCLES = 2
_LEAST, _LEAST_OF_ONE = 0.05, 1.5
_UNUSUAL, _UNUSUAL_OF_ONE = 0.1, 3.0
"""What a season must foretell at the least: so much, and so much over the number of cycles; more is asked of a period
that nobody would have guessed, as it was chosen among many."""
_AS_GOOD = 0.9
_MORE = 0.03
_PEAKS = 6
_MAX_DISTANCE = 4.0
_OFFSET_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Season:
    """strength: the share of the variance of what is quicker than the period that the season foretells, up to 1."""

    period: timedelta
    strength: float


def seasons(series: Series) -> tuple[Season, ...]:
    """The seasons of a series, the shortest first; none where nothing repeats, or where too little was seen.

    At least two cycles have to be there, and the fewer there are, the clearer they must be. Days and weeks are those of
    the series' zone. A multiple of a season that says no more than it, and a part of one that says less, are left out.
    """
    seen = _Seen.of(series)
    if seen is None:
        return ()
    strengths = {period: seen.strength(period, period) for period in seen.candidates()}
    likely = [period for period, found in strengths.items() if found >= _enough(period, seen.cycles(period))]
    found: list[int] = []
    for period in sorted(likely):
        is_multiple = any(period % shorter == 0 and not seen.says_more(period, shorter) for shorter in found)
        is_part = any(longer % period == 0 and not seen.is_as_good(period, longer) for longer in likely)
        if not is_multiple and not is_part and not _is_beside(period, found):
            found.append(period)
    told = _told_apart(seen, sorted(found, key=lambda period: -strengths[period]))
    return tuple(Season(timedelta(seconds=period), round(strengths[period], 3)) for period in sorted(told))


def _told_apart(seen: "_Seen", periods: list[int]) -> list[int]:
    """Without those that are but the shadow of a stronger one, such as 60 minutes of 100: both are made of 20."""
    kept: list[int] = []
    for period in periods:
        strangers = [one for one in kept if one % period and period % one]
        if not strangers or seen.strength(period, period, strangers) >= _enough(period, seen.cycles(period)):
            kept.append(period)
    return kept


def _enough(period: int, cycles: float) -> float:
    is_usual = period in (60 * minutes for minutes in _MINUTES)
    least, of_one = (_LEAST, _LEAST_OF_ONE) if is_usual else (_UNUSUAL, _UNUSUAL_OF_ONE)
    return least + of_one / cycles


@dataclass(frozen=True, slots=True)
class _Seen:
    """logs: of one series. seconds: local time of each bin. step: seconds."""

    logs: FloatArray
    seconds: IntArray
    step: int

    @classmethod
    def of(cls, series: Series) -> "_Seen | None":
        panel = Panel.of([series])
        (values,) = panel.values
        known = values[np.isfinite(values)]
        if not len(known) or not known.any() or known.min() == known.max():
            return None
        wall = WallTime.of(panel, np.zeros(1, dtype=np.int64), np.arange(panel.bins))
        return cls(np.log(values + _OFFSET_SHARE * known.mean()), wall.seconds, panel.step)

    def cycles(self, period: int) -> float:
        """How many were seen."""
        return float(np.isfinite(self.logs).sum() * self.step / period)

    def candidates(self) -> list[int]:
        """Periods in seconds, ascending: the usual ones, and the highest peaks of the periodogram below a day."""
        usual = [60 * minutes for minutes in _MINUTES]
        found = sorted({*usual, *(peak for peak in self._peaks() if not _is_beside(peak, usual))})
        return [one for one in found if one >= _MIN_BINS * self.step and self.cycles(one) >= _MIN_CYCLES]

    def strength(self, period: int, window: int, without: Sequence[int] = ()) -> float:
        """What the phase in `period` foretells of what is quicker than `window`, out of sample: 1 is all of it.

        without: periods whose share is taken away first.
        """
        quick = self._quicker_than(window)
        known = np.isfinite(quick)
        quick, seconds = quick[known], self.seconds[known]
        for other in without:
            phases = (seconds % other) // self.step
            quick = quick - (np.bincount(phases, quick) / np.maximum(np.bincount(phases), 1))[phases]
        phases = (seconds % period) // self.step
        sums, counts = np.bincount(phases, quick), np.bincount(phases)
        others = counts[phases] - 1
        foretold = np.where(others > 0, (sums[phases] - quick) / np.maximum(others, 1), 0.0)
        variance = float((quick**2).sum())
        return 1 - float(((quick - foretold) ** 2).sum()) / variance if variance > 0 else 0.0

    def says_more(self, longer: int, shorter: int) -> bool:
        """Whether a multiple foretells more than what it is a multiple of."""
        both = self.strength(longer, longer), self.strength(shorter, longer)
        return both[0] - both[1] > max(_MORE, (1 - _AS_GOOD) * both[0])

    def is_as_good(self, shorter: int, longer: int) -> bool:
        """Whether a part of a longer season foretells what is quick as well as all of it."""
        return self.strength(shorter, shorter) >= _AS_GOOD * self.strength(longer, shorter)

    def _quicker_than(self, window: int) -> FloatArray:
        """Without the mean of the cycle around each bin, and what is still far from it brought nearer."""
        width = max(2, window // self.step)
        sums = np.concatenate([[0.0], np.cumsum(np.nan_to_num(self.logs))])
        counts = np.concatenate([[0], np.cumsum(np.isfinite(self.logs))])
        at = np.arange(len(self.logs))
        begin = np.clip(at - width // 2, 0, max(0, len(at) - width))
        end = np.minimum(begin + width, len(at))
        mean = (sums[end] - sums[begin]) / np.maximum(counts[end] - counts[begin], 1)
        quick = self.logs - mean
        far = _MAX_DISTANCE * float(np.nanstd(quick))
        return np.clip(quick, -far, far)

    def _peaks(self) -> list[int]:
        quick = np.nan_to_num(self._quicker_than(_DAY))
        power = np.abs(np.fft.rfft(quick)) ** 2
        inner = np.flatnonzero((power[1:-1] > power[:-2]) & (power[1:-1] > power[2:])) + 1
        strongest = inner[np.argsort(-power[inner])][: _PEAKS * 4]
        periods = {round(len(quick) / int(at)) * self.step for at in strongest}
        return sorted(period for period in periods if period < _DAY)[: _PEAKS * 4]


def _is_beside(period: int, others: list[int]) -> bool:
    """Whether it is all but one of the others."""
    return any(abs(period - other) <= 0.05 * other for other in others)
