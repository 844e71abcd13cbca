"""Scores of a model: forecast errors, and their effect on scaling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.error_measures import coverage, mape, pinball, wape
from forecasting.series import FloatArray
from forecasting.walk_forward import WalkForward

FLOOR_QUANTILE = 0.9
"""The quantile that represents a floor. In its pinball loss a missing replica costs nine times an excess replica."""
_PEAK_PERCENTILE = 99.9
_REPLICAS = 20
"""Number of replicas that carry the demand exceeded in one bin of a thousand."""


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a model over the evaluated span.

    cost: pinball loss of the 0.9 quantile over the mean demand, a ratio. wape, mape: of the median, ratios. coverage:
    of the 0.9 quantile, away from known events if possible. judged: number of evaluated origins. short: share of bins
    in which a floor at that quantile was too low. hours: replicas of that floor over the replicas needed. cost, wape
    and mape are means over horizons; the others are computed over all horizons at once.
    """

    model: str
    cost: float
    wape: float
    mape: float
    coverage: float
    judged: int
    short: float = float("nan")
    hours: float = float("nan")


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a model: overall, and for each horizon in bins ahead."""

    overall: Score
    horizons: tuple[int, ...]
    by_horizon: tuple[Score, ...]


def scores(walk: WalkForward) -> Scores:
    """Return the scores of calibrated forecasts; NaN where nothing can be evaluated."""
    by_horizon = tuple(_score(walk, slice(column, column + 1)) for column in range(len(walk.horizons)))
    all_horizons = _score(walk, slice(None))
    overall = Score(
        model=walk.name,
        cost=_mean([score.cost for score in by_horizon]),
        wape=_mean([score.wape for score in by_horizon]),
        mape=_mean([score.mape for score in by_horizon]),
        coverage=all_horizons.coverage,
        judged=all_horizons.judged,
        short=all_horizons.short,
        hours=all_horizons.hours,
    )
    return Scores(overall, tuple(int(horizon) for horizon in walk.horizons), by_horizon)


def pooled(of_series: Sequence[Scores]) -> Scores:
    """Return the mean scores of a model over several series, each with the same weight.

    of_series: at least one, all with the same horizons.
    """
    horizons = of_series[0].horizons
    by_horizon = [[scores.by_horizon[column] for scores in of_series] for column in range(len(horizons))]
    overall = _mean_score([scores.overall for scores in of_series])
    return Scores(overall, horizons, tuple(_mean_score(parts) for parts in by_horizon))


def _mean_score(parts: Sequence[Score]) -> Score:
    names = ("cost", "wape", "mape", "coverage", "short", "hours")
    means = {name: _mean([getattr(part, name) for part in parts]) for name in names}
    return Score(model=parts[0].model, judged=sum(part.judged for part in parts), **means)


def _score(walk: WalkForward, horizons: slice) -> Score:
    actual, high, median = walk.actual[:, horizons], walk.at(FLOOR_QUANTILE)[:, horizons], walk.at(0.5)[:, horizons]
    mean = float(np.nanmean(walk.actual)) if np.isfinite(walk.actual).any() else float("nan")
    short, hours = floor_outcome(actual, high)
    return Score(
        model=walk.name,
        cost=pinball(actual, high, FLOOR_QUANTILE) / mean if mean > 0 else float("nan"),
        wape=wape(actual, median),
        mape=mape(actual, median),
        coverage=coverage(_actual_away_from_events(walk, horizons), high),
        judged=int(np.isfinite(actual).any(axis=1).sum()),
        short=short,
        hours=hours,
    )


def _actual_away_from_events(walk: WalkForward, horizons: slice) -> FloatArray:
    """Return actual values away from events: coverage near events varies too much, and cost and error include them."""
    actual = walk.actual[:, horizons]
    away = actual if walk.near is None else np.where(walk.near[:, horizons], np.nan, actual)
    return away if np.isfinite(away).any() else actual


def floor_outcome(actual: FloatArray, forecast: FloatArray) -> tuple[float, float]:
    """Return the share of bins in which a floor for `forecast` was too low, and its replicas over the replicas needed.

    actual, forecast: of the same shape. NaN without observed demand above zero.
    """
    known = np.isfinite(actual) & np.isfinite(forecast)
    largest = float(np.percentile(actual[known], _PEAK_PERCENTILE)) if known.any() else 0.0
    if largest <= 0:
        return float("nan"), float("nan")
    needed = np.maximum(1, np.ceil(actual[known] * _REPLICAS / largest))
    provided = np.maximum(1, np.ceil(forecast[known] * _REPLICAS / largest))
    return float((provided < needed).mean()), float(provided.sum() / needed.sum())


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
