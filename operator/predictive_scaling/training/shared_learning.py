"""Train one model on many series, score it on the last days of each, and keep what a forecast needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from forecasting.calibration import (
    CALIBRATION_HORIZONS,
    EVALUATION_HORIZONS,
    WINDOW,
    ErrorWindow,
    bins_ahead,
    calibrated,
    log_errors,
)
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel, TooShortError
from forecasting.learning import (
    LearnedModels,
    Span,
    holdout_peak_errors,
    holdout_start,
)
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.models.shared import SharedLightGBM, until
from forecasting.panel import IntArray
from forecasting.quality.gate import MIN_JUDGED, judge_scores
from forecasting.quality.scores import Scores, pooled, scores
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, replay
from predictive_scaling.models.shared_members import JudgedSeries, LearnedShared
from predictive_scaling.resources.series_key import SeriesKey

SEEDS = 96
"""Initial errors for the calibration of a series; its own errors outnumber them within a day."""
_MAX_STRIDE = 6
_JUDGED_ORIGINS = 336


def learn_shared(series: Mapping[SeriesKey, Series], settings: SharedLightGBM) -> LearnedShared:
    """Train on the demand before the last days, score on the last days, then train on all demand.

    All series are cut at the same moment, so that none reveals the future of another. Raises TooShortError if there
    is too little to train on.
    """
    if not series:
        raise TooShortError("no series has any demand")
    longest = max(series.values(), key=lambda member: len(member.values))
    step, end = longest.step, max(member.end for member in series.values())
    moment = end - (len(longest.values) - holdout_start(longest)) * step
    horizons = bins_ahead(CALIBRATION_HORIZONS, step)
    final = settings.fit_many([*series.values()])
    holdout_model = settings.fit_many([until(member, moment) for member in series.values()])
    final = final.with_peak_shifts(_peak_errors(holdout_model, series.values(), moment))
    walks = {key: _walks(member, holdout_model, moment, horizons) for key, member in series.items()}
    judged = {key: by_model for key, by_model in walks.items() if by_model is not None}
    if not judged:
        raise TooShortError(f"none of {len(series)} series is long enough to judge the shared model on")
    near = bins_ahead(EVALUATION_HORIZONS, step)[-1]
    holdout_scores = {key: [_holdout_scores(walk, int(near)) for walk in by_model] for key, by_model in judged.items()}
    overall = judge_scores(*_pooled_scores([*holdout_scores.values()]))
    residuals = {key: by_model[0] for key, by_model in judged.items()}
    members = tuple(
        JudgedSeries(key, judge_scores(own, others), _newest(residuals[key]))
        for key, (own, *others) in holdout_scores.items()
    )
    span = Span(
        min(member.start for member in series.values()),
        end,
        step,
        sum(_observed_bins(member) for member in series.values()),
    )
    seeds = _seeds([log_errors(walk) for walk in residuals.values()])
    return LearnedShared(LearnedModels(span, overall, final, None, horizons, seeds), members)


def _peak_errors(holdout_model: FittedLightGBM, series: Collection[Series], moment: datetime) -> FloatArray:
    """Return the peak errors of all series, with one stride, so that about WINDOW errors remain in total.

    A series that ended before `moment` has none.
    """
    firsts = [len(until(member, moment).values) for member in series]
    later = sum(len(member.values) - first for member, first in zip(series, firsts, strict=True))
    stride = max(1, later // WINDOW)
    return np.concatenate(
        [
            holdout_peak_errors(holdout_model, member, at, stride)
            for member, at in zip(series, firsts, strict=True)
            if at < len(member.values)
        ]
    )


def _walks(
    series: Series, holdout_model: FittedLightGBM, moment: datetime, horizons: IntArray
) -> list[WalkForward] | None:
    """Return the raw forecasts of the last days by the holdout model and the baselines.

    None if too few origins can be judged.
    """
    first = len(until(series, moment).values)
    remaining = len(series.values) - first
    stride = int(np.clip(remaining // _JUDGED_ORIGINS, 1, _MAX_STRIDE))
    if remaining // stride * 2 // 3 < MIN_JUDGED:
        return None
    models: Sequence[FittedModel] = (holdout_model, LastValue(), SeasonalNaive())
    return [replay(series, model, first, horizons, stride) for model in models]


def _holdout_scores(walk: WalkForward, near: int) -> Scores:
    """Return the scores of calibrated forecasts up to `near` bins ahead.

    The first third of the origins only warms up the calibration and is not scored.
    """
    stride = int(walk.origins[1] - walk.origins[0])
    # Calibration counts horizons in origins; round up, so that no error is used before it is known.
    calibrated_walk = calibrated(
        replace(walk, horizons=-(-walk.horizons // stride)), ErrorWindow(WINDOW // stride), stride=1
    )
    first_scored = int(walk.origins[len(walk.origins) // 3])
    return scores(replace(calibrated_walk, horizons=walk.horizons).since(first_scored).within(near))


def _pooled_scores(holdout_scores: Sequence[Sequence[Scores]]) -> tuple[Scores, list[Scores]]:
    """Pool the scores over all series. Returns the holdout model's scores and those of the baselines."""
    own, *others = (pooled([by_model[index] for by_model in holdout_scores]) for index in range(len(holdout_scores[0])))
    return own, others


def _newest(walk: WalkForward) -> FloatArray:
    """Return the newest errors, shape (SEEDS, horizons, quantiles), padded with NaN at the front."""
    newest = log_errors(walk)[-SEEDS:]
    kept = np.full((SEEDS, *newest.shape[1:]), np.nan)
    kept[SEEDS - len(newest) :] = newest
    return kept


def _seeds(newest: Sequence[FloatArray]) -> FloatArray:
    """Return SEEDS errors with the distribution of the errors of all series."""
    pooled_errors = np.concatenate(newest)
    ranks = (np.arange(SEEDS) + 0.5) / SEEDS
    seeds = np.full((SEEDS, *pooled_errors.shape[1:]), np.nan)
    for horizon in range(pooled_errors.shape[1]):
        for quantile in range(len(QUANTILES)):
            finite = pooled_errors[:, horizon, quantile]
            finite = finite[np.isfinite(finite)]
            if len(finite):
                seeds[:, horizon, quantile] = np.quantile(finite, ranks)
    return seeds


def _observed_bins(series: Series) -> int:
    return int(np.isfinite(series.values).sum())
