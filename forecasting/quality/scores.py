"""What a model's forecasts were worth: errors, and what they would have done to scaling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.error_measures import coverage, mape, pinball, wape
from forecasting.series import FloatArray
from forecasting.walk_forward import WalkForward

FLOOR_QUANTILE = 0.9
"""The quantile that stands for a floor: in its pinball loss a replica short costs nine times one too many."""
_MAX_LOAD = 99.9
_REPLICAS = 20
"""So many replicas carry the load that is exceeded in one bin of a thousand."""


@dataclass(frozen=True, slots=True)
class Score:
    """One model over the judged span, mean over horizons but for coverage, short and hours, which are over all.

    coverage: away from events that the model knows, where there are such hours.

    cost: pinball loss of the 0.9 quantile over the mean demand, a ratio. wape, mape: of the median, ratios. short: the
    share of bins in which a floor of that quantile was too low. hours: the replicas of that floor over those needed.
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
    """One model. horizons: bins ahead; by_horizon: a score each."""

    overall: Score
    horizons: tuple[int, ...]
    by_horizon: tuple[Score, ...]


def scores(walk: WalkForward) -> Scores:
    """Judge calibrated forecasts; NaN where nothing can be judged."""
    parts = tuple(_score(walk, slice(at, at + 1)) for at in range(len(walk.horizons)))
    everything = _score(walk, slice(None))
    whole = Score(
        model=walk.name,
        cost=_mean([part.cost for part in parts]),
        wape=_mean([part.wape for part in parts]),
        mape=_mean([part.mape for part in parts]),
        coverage=everything.coverage,
        judged=everything.judged,
        short=everything.short,
        hours=everything.hours,
    )
    return Scores(whole, tuple(int(horizon) for horizon in walk.horizons), parts)


def pooled(found: Sequence[Scores]) -> Scores:
    """One model's scores on several series as one: each series counts alike. At least one, of the same horizons."""
    each = [[one.by_horizon[at] for one in found] for at in range(len(found[0].horizons))]
    return Scores(_pooled([one.overall for one in found]), found[0].horizons, tuple(_pooled(parts) for parts in each))


def _pooled(parts: Sequence[Score]) -> Score:
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
        coverage=coverage(_ordinary(walk, horizons), high),
        judged=int(np.isfinite(actual).any(axis=1).sum()),
        short=short,
        hours=hours,
    )


def _ordinary(walk: WalkForward, horizons: slice) -> FloatArray:
    """Actuals away from events: near them few weeks are like another, and cost and error judge those anyway."""
    actual = walk.actual[:, horizons]
    apart = actual if walk.near is None else np.where(walk.near[:, horizons], np.nan, actual)
    return apart if np.isfinite(apart).any() else actual


def floor_outcome(actual: FloatArray, wanted: FloatArray) -> tuple[float, float]:
    """The share of bins in which replicas for `wanted` were too few for `actual`, and how many times those needed.

    Shapes are equal. NaN where nothing above zero was observed.
    """
    seen = np.isfinite(actual) & np.isfinite(wanted)
    largest = float(np.percentile(actual[seen], _MAX_LOAD)) if seen.any() else 0.0
    if largest <= 0:
        return float("nan"), float("nan")
    needed = np.maximum(1, np.ceil(actual[seen] * _REPLICAS / largest))
    given = np.maximum(1, np.ceil(wanted[seen] * _REPLICAS / largest))
    return float((given < needed).mean()), float(given.sum() / needed.sum())


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
