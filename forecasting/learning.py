"""Train all models of a series, evaluate them on its last days, and keep what a forecast needs.

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

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from forecasting import peaks
from forecasting.bands import Bands, cold_start_factor
from forecasting.calibration import (
    CALIBRATION_HORIZONS,
    EVALUATION_HORIZONS,
    NAIVE_ORIGINS,
    WINDOW,
    bins_ahead,
    calibrate,
    calibrated,
    fit_calibration,
    newest_errors,
)
from forecasting.cleaning.outliers import without_outliers
from forecasting.context import EMPTY_CONTEXT, CalendarContext
from forecasting.forecast import Forecast
from forecasting.forecaster import FittedModel, TooShortError
from forecasting.levels import levels_at
from forecasting.models.holt_winters import FittedHoltWinters, HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch, naive_forecasts
from forecasting.panel import DAY, IntArray, Origins, Panel
from forecasting.quality.gate import (
    MIN_JUDGED,
    Succession,
    Verdict,
    compare_with_incumbent,
    judge,
    succession_without_comparison,
    values_of_acting,
    verdict_without_champion,
)
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, replay

_MIN_HOLDOUT, _MAX_HOLDOUT = 1 * DAY, 7 * DAY
_HOLDOUT_SHARE = 0.25
_PEAK_STRIDE = 3
"""Bins between evaluated peaks. The windows overlap, so the peaks in between add little information."""


@dataclass(frozen=True, slots=True)
class Span:
    """The training data: [since, until) in bins of `step`, of which `bins` were observed."""

    since: datetime
    until: datetime
    step: timedelta
    bins: int
    calendar: CalendarContext = EMPTY_CONTEXT.calendar


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model in use, which was trained on the demand before `learned_until`."""

    model: FittedLightGBM
    learned_until: datetime


@dataclass(frozen=True, slots=True)
class LearnedModels:
    """The result of training on a series.

    lightgbm: trained on the full series; None if it is too short. residuals: log errors of LightGBM on the holdout
    days, shape (n, len(horizons), len(QUANTILES)), padded with NaN. succession: None without an incumbent.
    """

    span: Span
    verdict: Verdict
    lightgbm: FittedLightGBM | None
    holt_winters: FittedHoltWinters | None
    horizons: IntArray
    residuals: FloatArray
    succession: Succession | None = None

    def forecast(self, series: Series, steps: int) -> Forecast:
        """Return the forecast of the acting models from the end of a series, calibrated by the errors of the training.

        series: the training series or a later part of it, at least a week. steps: bins ahead, up to three hours. At
        horizons where the gate prefers a naive model, its forecast is used, except near known events.
        """
        if self.lightgbm is None or not self.verdict.passed:
            return naive_batch([series], self._naive_models(self.verdict.acting), steps)[0]
        return self._by_lightgbm(self.lightgbm, series, steps)

    def _naive_models(self, name: str) -> list[FittedModel]:
        """The naive model of a name; all of them where there is none."""
        models: list[FittedModel] = [LastValue(), SeasonalNaive(), *([self.holt_winters] if self.holt_winters else [])]
        return [model for model in models if model.name == name] or models

    def _by_lightgbm(self, model: FittedLightGBM, series: Series, steps: int) -> Forecast:
        panel, bins = Panel.of([series]), np.arange(1, steps + 1)
        last = panel.latest_origins()
        levels = levels_at(panel, last)
        raw, near = model.quantiles(panel, last, bins), model.near_events(panel, last, bins)
        values = calibrate(raw, fit_calibration(self.residuals, self.horizons).at(bins), levels, near)

        def values_of(name: str) -> FloatArray:
            return naive_forecasts(panel, self._naive_models(name)[0], steps).values

        values = values_of_acting(model.name, values, self.verdict.by_horizon, near, values_of)
        windows = min(steps, peaks.WINDOWS)
        raw_peaks, peak_shifts = model.peaks(panel, last, windows), model.peak.shifts.up_to(windows)
        bands = Bands.of(values, raw_peaks, peak_shifts, levels, np.array([cold_start_factor(series)]))
        return bands.forecast(0, series, model, model.contributions(panel, last, bins)[0])


def learn(
    series: Series, settings: LightGBMQuantiles | None = None, incumbent: Incumbent | None = None
) -> LearnedModels:
    """Train on the early part, evaluate on the last quarter (a day to a week), then train on the full series.

    If the series is too short for LightGBM, the naive model with the best score acts.
    """
    series, settings = without_outliers(series, judge_first=True), settings or LightGBMQuantiles()
    horizons = bins_ahead(CALIBRATION_HORIZONS, series.step)
    split = holdout_start(series)
    span = Span(series.start, series.end, series.step, int(np.isfinite(series.values).sum()), series.context.calendar)
    baselines = [_naive(series, model, split, horizons) for model in (LastValue(), SeasonalNaive())]
    smoothing = _holt_winters(before(series, split))
    if smoothing is not None:
        baselines.append(_naive(series, smoothing, split, horizons))
    try:
        holdout_model = settings.fit(before(series, split))
        final = settings.fit(series)
    except TooShortError as error:
        no_errors = np.full((WINDOW, len(horizons), baselines[0].quantiles.shape[2]), np.nan)
        verdict = verdict_without_champion([_evaluated(baseline, split, series) for baseline in baselines], str(error))
        return LearnedModels(span, verdict, None, smoothing, horizons, no_errors)
    champion = replay(series, holdout_model, split, horizons)
    contestants = [
        _evaluated(calibrated(champion), split, series),
        *(_evaluated(baseline, split, series) for baseline in baselines),
    ]
    verdict = judge(contestants[0], contestants[1:])
    succession = _succession(series, settings, incumbent, (split, holdout_model)) if incumbent else None
    final = final.with_peak_shifts(holdout_peak_errors(holdout_model, series, split))
    return LearnedModels(span, verdict, final, smoothing, horizons, newest_errors(champion), succession)


def holdout_peak_errors(
    holdout_model: FittedLightGBM, series: Series, first: int, stride: int = _PEAK_STRIDE
) -> FloatArray:
    """Return the log errors of raw peaks from origin `first` on: shape (origins, WINDOWS, len(PEAK_QUANTILES)).

    holdout_model: trained on the bins before `first`.
    """
    panel, origins = Panel.of([series]), np.arange(first, len(series.values), stride)
    return peaks.peak_log_errors(
        panel, origins, holdout_model.peaks(panel, Origins.of_single_series(origins), peaks.WINDOWS)
    )


def holdout_start(series: Series) -> int:
    """Return the number of bins before the holdout, the days on which a model is evaluated."""
    min_bins, max_bins = (max(1, round(duration / series.step)) for duration in (_MIN_HOLDOUT, _MAX_HOLDOUT))
    bins = len(series.values)
    return max(0, bins - int(np.clip(bins * _HOLDOUT_SHARE, min_bins, max_bins)))


def _succession(
    series: Series, settings: LightGBMQuantiles, incumbent: Incumbent, holdout: tuple[int, FittedLightGBM]
) -> Succession:
    """Compare the challenger with the incumbent on demand that neither the incumbent nor the holdout model has seen.

    holdout: the number of training bins of the holdout model, and the model. If the incumbent was trained on more bins,
    another holdout model is trained on as many.
    """
    split, holdout_model = holdout
    incumbent_bins = (incumbent.learned_until - series.start) // series.step
    first = int(np.clip(incumbent_bins, split, len(series.values)))
    if len(series.values) - first < MIN_JUDGED:
        return succession_without_comparison(len(series.values) - first)
    horizons = bins_ahead(EVALUATION_HORIZONS, series.step)
    if first > split:
        holdout_model = settings.fit(before(series, first))
    walks = [calibrated(replay(series, model, first, horizons)) for model in (holdout_model, incumbent.model)]
    return compare_with_incumbent(*walks)


def _naive(series: Series, model: FittedModel, split: int, horizons: IntArray) -> WalkForward:
    """Return the holdout forecasts of a naive model, calibrated on the bins before the holdout as well."""
    walk = replay(series, model, max(0, split - WINDOW - int(horizons[-1])), horizons)
    return calibrated(walk, NAIVE_ORIGINS).since(split)


def _holt_winters(early: Series) -> FittedHoltWinters | None:
    try:
        return HoltWinters().fit(early)
    except TooShortError:
        return None


def _evaluated(walk: WalkForward, split: int, series: Series) -> WalkForward:
    """Return horizons up to an hour, without the first third of the holdout, which only calibrates."""
    warm = split + (len(series.values) - split) // 3
    return walk.since(warm).within(int(bins_ahead(EVALUATION_HORIZONS, series.step)[-1]))
