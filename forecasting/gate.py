"""May a model act? Champion against the naive ones over the last days, judged by what it would do to scaling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecasting.backtest import WalkForward
from forecasting.evaluation import coverage, mape, pinball, wape

JUDGED = 0.9
"""The quantile that stands for a floor: in its pinball loss a replica short costs nine times one too many."""
TOLERANCE = 1.02
COVERAGE = (0.84, 0.96)
ENOUGH = 144
"""Forecasts that must have been judged, at the least: half a day at 5 minutes."""


@dataclass(frozen=True, slots=True)
class Score:
    """One model over the judged span, mean over horizons but for coverage, which is over all.

    cost: pinball loss of the 0.9 quantile over the mean demand, a ratio. wape, mape: of the median, ratios.
    """

    model: str
    cost: float
    wape: float
    mape: float
    coverage: float
    judged: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed: the champion acts. acting: the model that acts. evidence: one sentence with the numbers."""

    passed: bool
    acting: str
    evidence: str
    champion: Score | None
    baselines: tuple[Score, ...]


def score(walk: WalkForward) -> Score:
    """Judge calibrated forecasts; NaN scores where nothing can be judged."""
    high, median = walk.at(JUDGED), walk.at(0.5)
    mean = float(np.nanmean(walk.actual)) if np.isfinite(walk.actual).any() else float("nan")
    by_horizon = [(walk.actual[:, at], median[:, at], high[:, at]) for at in range(len(walk.horizons))]
    return Score(
        model=walk.name,
        cost=_mean([pinball(actual, q, JUDGED) / mean if mean > 0 else np.nan for actual, _, q in by_horizon]),
        wape=_mean([wape(actual, q) for actual, q, _ in by_horizon]),
        mape=_mean([mape(actual, q) for actual, q, _ in by_horizon]),
        coverage=coverage(walk.actual, high),
        judged=int(np.isfinite(walk.actual).any(axis=1).sum()),
    )


def judge(champion: WalkForward, baselines: Sequence[WalkForward]) -> Verdict:
    """Compare calibrated forecasts of the same origins. The best naive model acts where the champion may not."""
    own, others = score(champion), tuple(score(walk) for walk in baselines)
    best = min(others, key=lambda one: one.cost if np.isfinite(one.cost) else np.inf)
    objections = list(_objections(own, best))
    if objections:
        said = f"{best.model} acts, as {own.model} {' and '.join(objections)}"
    else:
        said = f"{own.model} acts: {_compared(own, best)}, and {own.coverage:.1%} stayed below its 0.9 quantile"
    return Verdict(not objections, best.model if objections else own.model, said, own, others)


def unopposed(baselines: Sequence[WalkForward], why: str) -> Verdict:
    """The verdict where there is no champion: the best naive model acts."""
    others = tuple(score(walk) for walk in baselines)
    best = min(others, key=lambda one: one.cost if np.isfinite(one.cost) else np.inf)
    return Verdict(False, best.model, f"{best.model} acts: {why}", None, others)


def _objections(own: Score, best: Score) -> list[str]:
    found: list[str] = []
    if own.judged < ENOUGH:
        return [f"was judged on {own.judged} forecasts only, of at least {ENOUGH}"]
    if not own.cost <= best.cost * TOLERANCE:
        found.append(f"costs more ({_cost(own)} against {_cost(best)})")
    if not own.wape <= best.wape * TOLERANCE:
        found.append(f"errs more (WAPE {own.wape:.3f} against {best.wape:.3f})")
    low, high = COVERAGE
    if not low <= own.coverage <= high:
        found.append(f"covers {own.coverage:.1%} with its 0.9 quantile, outside {low:.0%} to {high:.0%}")
    return found


def _compared(own: Score, best: Score) -> str:
    return f"it costs {_cost(own)} against {_cost(best)} of {best.model}, WAPE {own.wape:.3f} against {best.wape:.3f}"


def _cost(one: Score) -> str:
    return f"{one.cost:.3f}"


def _mean(values: Sequence[float]) -> float:
    seen = [value for value in values if np.isfinite(value)]
    return float(np.mean(seen)) if seen else float("nan")
