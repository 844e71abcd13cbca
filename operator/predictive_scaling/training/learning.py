"""Learn all models of one series, judge them on its last days, and keep what a forecast needs. Pure but for the CPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.backtest import WalkForward, before, replay
from forecasting.calibration import WINDOW, calibrated, newest_errors
from forecasting.forecaster import Fitted, TooShortError
from forecasting.gate import Verdict, judge, unopposed
from forecasting.models.holt_winters import FittedHoltWinters, HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import DAY, IntArray
from forecasting.series import FloatArray, Series

_MINUTE = timedelta(minutes=1)
JUDGED_AHEAD = (5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, 60 * _MINUTE)
CALIBRATED_AHEAD = (*JUDGED_AHEAD, 120 * _MINUTE, 180 * _MINUTE)
_HOLDOUT = (1 * DAY, 7 * DAY)
_HOLDOUT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Learned:
    """Everything that a training found out about a series.

    lightgbm: learned from all of it; None where it is too short. residuals: log errors of LightGBM on days that it had
    not seen, shape (WINDOW, len(horizons), len(QUANTILES)), NaN where there are fewer.
    """

    series: Series
    verdict: Verdict
    lightgbm: FittedLightGBM | None
    holt_winters: FittedHoltWinters | None
    horizons: IntArray
    residuals: FloatArray


def learn(series: Series, settings: LightGBMQuantiles) -> Learned:
    """Learn from the early part, judge on the last quarter (a day to a week), then learn from everything."""
    horizons = bins_ahead(CALIBRATED_AHEAD, series.step)
    split = _split(series)
    rivals = [_naive(series, model, split, horizons) for model in (LastValue(), SeasonalNaive())]
    smoothing = _holt_winters(before(series, split))
    if smoothing is not None:
        rivals.append(_naive(series, smoothing, split, horizons))
    try:
        champion = replay(series, settings.fit(before(series, split)), split, horizons)
        final = settings.fit(series)
    except TooShortError as error:
        nothing = np.full((WINDOW, len(horizons), rivals[0].quantiles.shape[2]), np.nan)
        verdict = unopposed([_judged(rival, split, series) for rival in rivals], str(error))
        return Learned(series, verdict, None, smoothing, horizons, nothing)
    contestants = [_judged(calibrated(champion), split, series), *(_judged(rival, split, series) for rival in rivals)]
    verdict = judge(contestants[0], contestants[1:])
    return Learned(series, verdict, final, smoothing, horizons, newest_errors(champion))


def bins_ahead(durations: Sequence[timedelta], step: timedelta) -> IntArray:
    """Durations as whole bins ahead, ascending, each once; at least one."""
    return np.unique([max(1, round(duration / step)) for duration in durations])


def _split(series: Series) -> int:
    least, most = (max(1, round(duration / series.step)) for duration in _HOLDOUT)
    bins = len(series.values)
    return max(0, bins - int(np.clip(bins * _HOLDOUT_SHARE, least, most)))


def _naive(series: Series, model: Fitted, split: int, horizons: IntArray) -> WalkForward:
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
    return walk.since(warm).within(int(bins_ahead(JUDGED_AHEAD, series.step)[-1]))
