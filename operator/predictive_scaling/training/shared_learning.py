"""Learn one model from many series, judge it on the last days of each, and keep what a forecast needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from forecasting.calibration import WINDOW, calibrated, errors
from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted, TooShortError
from forecasting.learning import (
    CALIBRATED_AHEAD,
    JUDGED_AHEAD,
    Learned,
    Span,
    bins_ahead,
    peak_errors_of,
    split_of,
)
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.models.shared import SharedLightGBM, until
from forecasting.panel import IntArray
from forecasting.quality.gate import ENOUGH, judge_scores
from forecasting.quality.scores import Scores, pooled, scores
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, replay
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.models.shared_members import Judged, LearnedShared

SEEDS = 96
"""Errors by which a series begins to be calibrated; its own outvote them within a day."""
_MAX_STRIDE = 6
_JUDGED_ORIGINS = 336


def learn_shared(series: Mapping[SeriesKey, Series], settings: SharedLightGBM) -> LearnedShared:
    """Learn from before the last days of all, judge on these, then learn from everything.

    All are cut at the same moment, so that no series tells another what was to come. Raises TooShortError where there
    is nothing to learn from.
    """
    if not series:
        raise TooShortError("no series has any demand")
    longest = max(series.values(), key=lambda one: len(one.values))
    step, end = longest.step, max(one.end for one in series.values())
    moment = end - (len(longest.values) - split_of(longest)) * step
    horizons = bins_ahead(CALIBRATED_AHEAD, step)
    final = settings.fit_many([*series.values()])
    holdout_model = settings.fit_many([until(one, moment) for one in series.values()])
    final = final.with_peak_shifts(_peak_errors(holdout_model, series.values(), moment))
    walks = {key: _walks(one, holdout_model, moment, horizons) for key, one in series.items()}
    judged = {key: found for key, found in walks.items() if found is not None}
    if not judged:
        raise TooShortError(f"none of {len(series)} series is long enough to judge the shared model on")
    near = bins_ahead(JUDGED_AHEAD, step)[-1]
    marks = {key: [_marks(walk, int(near)) for walk in found] for key, found in judged.items()}
    overall = judge_scores(*_together([*marks.values()]))
    residuals = {key: found[0] for key, found in judged.items()}
    members = tuple(
        Judged(key, judge_scores(own, others), _newest(residuals[key])) for key, (own, *others) in marks.items()
    )
    span = Span(min(one.start for one in series.values()), end, step, sum(_observed(one) for one in series.values()))
    seeds = _seeds([errors(walk) for walk in residuals.values()])
    return LearnedShared(Learned(span, overall, final, None, horizons, seeds), members)


def _peak_errors(holdout_model: FittedLightGBM, series: Collection[Series], moment: datetime) -> FloatArray:
    """Of all series, about as many of each: a peak says the same of any of them."""
    firsts = [len(until(one, moment).values) for one in series]
    later = sum(len(one.values) - first for one, first in zip(series, firsts, strict=True))
    stride = max(1, later // WINDOW)
    return np.concatenate(
        [peak_errors_of(holdout_model, one, at, stride) for one, at in zip(series, firsts, strict=True)]
    )


def _walks(
    series: Series, holdout_model: FittedLightGBM, moment: datetime, horizons: IntArray
) -> list[WalkForward] | None:
    """The twin's raw and the naive ones' forecasts of the last days; None where too little of it can be judged."""
    first = len(until(series, moment).values)
    left = len(series.values) - first
    stride = int(np.clip(left // _JUDGED_ORIGINS, 1, _MAX_STRIDE))
    if left // stride * 2 // 3 < ENOUGH:
        return None
    models: Sequence[Fitted] = (holdout_model, LastValue(), SeasonalNaive())
    return [replay(series, model, first, horizons, stride) for model in models]


def _marks(walk: WalkForward, near: int) -> Scores:
    """Calibrated, from when there was something to go by, up to an hour ahead."""
    stride = int(walk.origins[1] - walk.origins[0])
    # Calibration counts horizons in origins: rounded up, so that no error is known too soon.
    counted = calibrated(replace(walk, horizons=-(-walk.horizons // stride)), WINDOW // stride, stride=1)
    warm = int(walk.origins[len(walk.origins) // 3])
    return scores(replace(counted, horizons=walk.horizons).since(warm).within(near))


def _together(marks: Sequence[Sequence[Scores]]) -> tuple[Scores, list[Scores]]:
    own, *others = (pooled([mark[at] for mark in marks]) for at in range(len(marks[0])))
    return own, others


def _newest(walk: WalkForward) -> FloatArray:
    """The newest errors: shape (SEEDS, horizons, quantiles), NaN in front where there are fewer."""
    found = errors(walk)[-SEEDS:]
    kept = np.full((SEEDS, *found.shape[1:]), np.nan)
    kept[SEEDS - len(found) :] = found
    return kept


def _seeds(found: Sequence[FloatArray]) -> FloatArray:
    """SEEDS errors that are spread as those of all series together are."""
    every = np.concatenate(found)
    ranks = (np.arange(SEEDS) + 0.5) / SEEDS
    seeds = np.full((SEEDS, *every.shape[1:]), np.nan)
    for horizon in range(every.shape[1]):
        for quantile in range(len(QUANTILES)):
            known = every[:, horizon, quantile]
            known = known[np.isfinite(known)]
            if len(known):
                seeds[:, horizon, quantile] = np.quantile(known, ranks)
    return seeds


def _observed(series: Series) -> int:
    return int(np.isfinite(series.values).sum())
