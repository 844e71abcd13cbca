"""Learn all models of one series, judge them on its last days, and keep what a forecast needs.

>>> from datetime import UTC
>>> noise = np.random.default_rng(1).lognormal(sigma=0.1, size=960)
>>> shop = Series("shop", datetime(2026, 11, 2, tzinfo=UTC), timedelta(minutes=15), noise)
>>> shop.values[:] *= 100 + 60 * np.sin(np.arange(960) / 96 * 2 * np.pi)
>>> learned = learn(shop)
>>> learned.verdict.acting
'LightGBM'
>>> forecast = learned.forecast(shop, steps=4)
>>> bool((forecast.at(0.95) > forecast.at(0.5)).all()), forecast.peaks.shape
(True, (4, 4))
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from forecasting import peaks
from forecasting.calibration import WINDOW, calibrated, cold_start_factor, fit_calibration, newest_errors, widened
from forecasting.cleaning.outliers import without_outliers
from forecasting.context import EMPTY_CONTEXT, CalendarContext
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.forecaster import FittedModel, TooShortError
from forecasting.levels import levels_at
from forecasting.models.holt_winters import FittedHoltWinters, HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch
from forecasting.panel import DAY, IntArray, Origins, Panel
from forecasting.quality.gate import (
    MIN_JUDGED,
    Succession,
    Verdict,
    compare_with_incumbent,
    judge,
    succession_without_comparison,
    verdict_without_champion,
)
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, replay

_MINUTE = timedelta(minutes=1)
EVALUATION_HORIZONS = (5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, 60 * _MINUTE)
CALIBRATION_HORIZONS = (*EVALUATION_HORIZONS, 120 * _MINUTE, 180 * _MINUTE)
_HOLDOUT = (1 * DAY, 7 * DAY)
_HOLDOUT_SHARE = 0.25
_PEAK_STRIDE = 3
"""Bins from one judged peak to the next: windows overlap, so that those between say little more."""


@dataclass(frozen=True, slots=True)
class Span:
    """What was learned from: [since, until), bins of `step`, of which `bins` were observed. place: whose clocks."""

    since: datetime
    until: datetime
    step: timedelta
    bins: int
    calendar: CalendarContext = EMPTY_CONTEXT.calendar


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model in use, which learned from what was before `learned_until`."""

    model: FittedLightGBM
    learned_until: datetime


@dataclass(frozen=True, slots=True)
class LearnedModels:
    """Everything that a training found out about a series.

    lightgbm: learned from all of it; None where it is too short. residuals: log errors of LightGBM on days that it had
    not seen, shape (n, len(horizons), len(QUANTILES)), NaN where there are fewer. succession: None where there was no
    model before it that acts.
    """

    span: Span
    verdict: Verdict
    lightgbm: FittedLightGBM | None
    holt_winters: FittedHoltWinters | None
    horizons: IntArray
    residuals: FloatArray
    succession: Succession | None = None

    def forecast(self, series: Series, steps: int) -> Forecast:
        """What may act of the models says of the series from its end on, calibrated by the errors of the training.

        series: the one that was learned from, or a later part of it; a week of it at the least. steps: bins ahead, up
        to three hours. Where the gate found another model better at some horizons, that one answers there.
        """
        if self.lightgbm is None or not self.verdict.passed:
            return self._naive(self.verdict.acting, series, steps)
        made = self._by_lightgbm(self.lightgbm, series, steps)
        for other in {one.model for one in self.verdict.by_horizon} - {self.lightgbm.name}:
            there = np.array([self.verdict.acting_at(step) == other for step in range(1, steps + 1)])
            values = np.where(there[:, None], self._naive(other, series, steps).values, made.values)
            made = replace(
                made, values=values, peaks=None if made.peaks is None else peaks.at_least_bins(made.peaks, values)
            )
        return made

    def _naive(self, name: str, series: Series, steps: int) -> Forecast:
        known = [LastValue(), SeasonalNaive(), *([self.holt_winters] if self.holt_winters else [])]
        return naive_batch([series], [one for one in known if one.name == name] or known, steps)[0]

    def _by_lightgbm(self, model: FittedLightGBM, series: Series, steps: int) -> Forecast:
        panel, bins = Panel.of([series]), np.arange(1, steps + 1)
        last = panel.latest_origins()
        levels, factor = levels_at(panel, last), cold_start_factor(series)
        raw, near = model.quantiles(panel, last, bins), model.near_events(panel, last, bins)
        values = fit_calibration(self.residuals, self.horizons).apply(raw, bins, levels)
        if near is not None:
            # Near known events bands are of a pool of their own.
            values = np.where(near[:, :, None], raw, values)
        highest = model.peak.shifts.apply(model.peaks(panel, last, min(steps, peaks.WINDOWS)), values, levels)
        return Forecast(
            series.name,
            series.end,
            series.step,
            QUANTILES,
            widened(values[0], factor),
            model.name,
            model.version,
            model.contributions(panel, last, bins)[0],
            widened(highest[0], factor, PEAK_QUANTILES),
        )


def learn(
    series: Series, settings: LightGBMQuantiles | None = None, incumbent: Incumbent | None = None
) -> LearnedModels:
    """Learn from the early part, judge on the last quarter (a day to a week), then learn from everything.

    A series that is too short for LightGBM is answered by the naive model that did best on it.
    """
    series, settings = without_outliers(series, judge_first=True), settings or LightGBMQuantiles()
    horizons = bins_ahead(CALIBRATION_HORIZONS, series.step)
    split = holdout_start(series)
    span = Span(series.start, series.end, series.step, int(np.isfinite(series.values).sum()), series.context.calendar)
    rivals = [_naive(series, model, split, horizons) for model in (LastValue(), SeasonalNaive())]
    smoothing = _holt_winters(before(series, split))
    if smoothing is not None:
        rivals.append(_naive(series, smoothing, split, horizons))
    try:
        holdout_model = settings.fit(before(series, split))
        final = settings.fit(series)
    except TooShortError as error:
        nothing = np.full((WINDOW, len(horizons), rivals[0].quantiles.shape[2]), np.nan)
        verdict = verdict_without_champion([_judged(rival, split, series) for rival in rivals], str(error))
        return LearnedModels(span, verdict, None, smoothing, horizons, nothing)
    champion = replay(series, holdout_model, split, horizons)
    contestants = [_judged(calibrated(champion), split, series), *(_judged(rival, split, series) for rival in rivals)]
    verdict = judge(contestants[0], contestants[1:])
    succession = _succession(series, settings, incumbent, (split, holdout_model)) if incumbent else None
    final = final.with_peak_shifts(holdout_peak_errors(holdout_model, series, split))
    return LearnedModels(span, verdict, final, smoothing, horizons, newest_errors(champion), succession)


def holdout_peak_errors(
    holdout_model: FittedLightGBM, series: Series, first: int, stride: int = _PEAK_STRIDE
) -> FloatArray:
    """What a model missed of peaks since `first`, which it had not seen: shape (origins, WINDOWS, PEAK_QUANTILES)."""
    panel, origins = Panel.of([series]), np.arange(first, len(series.values), stride)
    return peaks.peak_log_errors(
        panel, origins, holdout_model.peaks(panel, Origins.of_single_series(origins), peaks.WINDOWS)
    )


def bins_ahead(durations: Sequence[timedelta], step: timedelta) -> IntArray:
    """Durations as whole bins ahead, ascending, each once; at least one."""
    return np.unique([max(1, round(duration / step)) for duration in durations])


def holdout_start(series: Series) -> int:
    """How many bins come before the days on which a model is judged."""
    least, most = (max(1, round(duration / series.step)) for duration in _HOLDOUT)
    bins = len(series.values)
    return max(0, bins - int(np.clip(bins * _HOLDOUT_SHARE, least, most)))


def _succession(
    series: Series, settings: LightGBMQuantiles, incumbent: Incumbent, known: tuple[int, FittedLightGBM]
) -> Succession:
    """Compare with the model in use on what came after its training: neither it nor the challenger's twin saw that.

    known: a twin, and the bins that it learned from; another is trained where the forerunner has seen more.
    """
    split, holdout_model = known
    seen = (incumbent.learned_until - series.start) // series.step
    first = int(np.clip(seen, split, len(series.values)))
    if len(series.values) - first < MIN_JUDGED:
        return succession_without_comparison(len(series.values) - first)
    near = bins_ahead(EVALUATION_HORIZONS, series.step)
    if first > split:
        holdout_model = settings.fit(before(series, first))
    walks = [calibrated(replay(series, model, first, near)) for model in (holdout_model, incumbent.model)]
    return compare_with_incumbent(*walks)


def _naive(series: Series, model: FittedModel, split: int, horizons: IntArray) -> WalkForward:
    """A model that learns next to nothing, calibrated on what came before the judged days too."""
    walk = replay(series, model, max(0, split - WINDOW), horizons)
    return calibrated(walk).since(split)


def _holt_winters(early: Series) -> FittedHoltWinters | None:
    try:
        return HoltWinters().fit(early)
    except TooShortError:
        return None


def _judged(walk: WalkForward, split: int, series: Series) -> WalkForward:
    """The horizons up to an hour, from when calibration had something to go by."""
    warm = split + (len(series.values) - split) // 3
    return walk.since(warm).within(int(bins_ahead(EVALUATION_HORIZONS, series.step)[-1]))
