"""The quality gate: whether a model may act, and at which horizons, by its effect on scaling on the holdout days.

At each horizon the model is compared with the naive models; if a naive model is better, the naive model acts. A new
model is also compared with the incumbent (succession).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from forecasting.panel import BoolArray
from forecasting.quality.scores import Score, Scores, scores
from forecasting.series import FloatArray
from forecasting.walk_forward import WalkForward

TOLERANCE = 1.02
SUCCESSION_TOLERANCE = 1.05
COVERAGE = (0.84, 0.96)
COVERAGE_OF_CHEAPER, MIN_SAVING = (0.75, 1.0), 0.1
"""The accepted coverage of a model that costs at least this share less than the best naive model."""
MIN_JUDGED = 144
"""Minimum number of evaluated forecasts: half a day at 5 minutes."""


@dataclass(frozen=True, slots=True)
class ActingModel:
    """The model that acts up to a horizon in bins ahead, starting after the previous horizon."""

    horizon: int
    model: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of the gate.

    passed: the champion acts, at least at some horizons. acting: the model that acts by default. evidence: a sentence
    with the numbers. by_horizon: ascending; empty if the same model acts at all horizons.
    """

    passed: bool
    acting: str
    evidence: str
    champion: Score | None
    baselines: tuple[Score, ...]
    by_horizon: tuple[ActingModel, ...] = ()


@dataclass(frozen=True, slots=True)
class Succession:
    """Whether a new model replaces the incumbent. evidence: a sentence with the numbers."""

    accepted: bool
    evidence: str


class ActingEntry(Protocol):
    """An ActingModel, or a stored record of it."""

    @property
    def horizon(self) -> int:
        """The last horizon, in bins ahead."""
        ...

    @property
    def model(self) -> str:
        """The name of the model."""
        ...


def _acting_at(table: Sequence[ActingEntry], step: int, otherwise: str) -> str:
    """Return the model that acts `step` bins ahead; beyond the table its last model, without a table `otherwise`."""
    entry = next((entry for entry in table if step <= entry.horizon), table[-1] if table else None)
    return entry.model if entry else otherwise


def values_of_acting(
    name: str,
    values: FloatArray,
    table: Sequence[ActingEntry],
    near: BoolArray | None,
    values_of: Callable[[str], FloatArray],
) -> FloatArray:
    """Return the quantiles of the model that acts at each bin ahead; near events those of the champion at all of them.

    Naive models do not know the events. name, values: the champion and its quantiles, shape (..., steps, quantiles).
    near: targets near events that the champion knows, shape (..., steps). values_of: quantiles of another model.
    """
    acting = np.array([_acting_at(table, step, name) for step in range(1, values.shape[-2] + 1)])
    for other in sorted({*acting.tolist()} - {name}):
        replaced = acting == other if near is None else (acting == other) & ~near
        values = np.where(replaced[..., None], values_of(other), values)
    return values


def judge(champion: WalkForward, baselines: Sequence[WalkForward]) -> Verdict:
    """Return the verdict on calibrated forecasts from the same origins; the best naive model acts if it fails."""
    return judge_scores(scores(champion), [scores(walk) for walk in baselines])


def judge_scores(own: Scores, others: Sequence[Scores]) -> Verdict:
    """Return the same verdict as judge, from scores that the caller has already computed."""
    best = min((other.overall for other in others), key=_cost)
    by_horizon = [_best_model(own, others, column) for column in range(len(own.horizons))]
    acts = any(model == own.overall.model for model in by_horizon)
    objections = _objections(own.overall, best, at_all=acts)
    baselines = tuple(other.overall for other in others)
    if objections:
        evidence = f"{best.model} acts because {own.overall.model} {' and '.join(objections)}"
        return Verdict(False, best.model, evidence, own.overall, baselines)
    table = tuple(ActingModel(horizon, model) for horizon, model in zip(own.horizons, by_horizon, strict=True))
    exceptions = [acting for acting in table if acting.model != own.overall.model]
    evidence = f"{own.overall.model} acts: {_comparison(own.overall, best)}, and {_coverage(own.overall)}"
    if exceptions:
        by_model = ", ".join(f"{exception.model} at {exception.horizon} bins ahead" for exception in exceptions)
        evidence += f"; exceptions, by lower cost and error: {by_model}"
    return Verdict(True, own.overall.model, evidence, own.overall, baselines, table if exceptions else ())


def verdict_without_champion(baselines: Sequence[WalkForward], why: str) -> Verdict:
    """Return the verdict without a champion: the best naive model acts."""
    others = tuple(scores(walk).overall for walk in baselines)
    best = min(others, key=_cost)
    return Verdict(False, best.model, f"{best.model} acts: {why}", None, others)


def compare_with_incumbent(challenger: WalkForward, previous: WalkForward) -> Succession:
    """Compare a challenger with the incumbent on the same origins, on demand that neither has seen."""
    new, old = scores(challenger).overall, scores(previous).overall
    numbers = (
        f"cost {_decimal(new.cost)} against {_decimal(old.cost)}, "
        f"WAPE {_decimal(new.wape)} against {_decimal(old.wape)}"
    )
    if new.judged < MIN_JUDGED:
        return succession_without_comparison(new.judged)
    worse = new.cost > old.cost * SUCCESSION_TOLERANCE
    return Succession(not worse, f"{'is worse than' if worse else 'replaces'} the previous version: {numbers}")


def succession_without_comparison(judged: int) -> Succession:
    """Return the succession when too few forecasts can be compared: the new model replaces the incumbent."""
    return Succession(True, f"was not compared with the previous version: only {judged} forecasts since its training")


def _best_model(own: Scores, others: Sequence[Scores], column: int) -> str:
    """Return the model that acts at a horizon."""
    champion, best = own.by_horizon[column], min((other.by_horizon[column] for other in others), key=_cost)
    return best.model if _is_worse(champion, best) else champion.model


def _objections(own: Score, best: Score, *, at_all: bool) -> list[str]:
    objections: list[str] = []
    if own.judged < MIN_JUDGED:
        return [f"was evaluated on {own.judged} forecasts, fewer than the required {MIN_JUDGED}"]
    # The cost contains the misses: where it is much lower, the naive model that would act instead is the greater risk.
    low, high = COVERAGE_OF_CHEAPER if own.cost <= best.cost * (1 - MIN_SAVING) else COVERAGE
    if not low <= own.coverage <= high:
        objections.append(f"covers {_percent(own.coverage)} with its 0.9 quantile, outside {low:.0%} to {high:.0%}")
    if at_all:
        return objections
    if not own.cost <= best.cost * TOLERANCE:
        objections.insert(0, f"costs more ({_decimal(own.cost)} against {_decimal(best.cost)})")
    if not own.wape <= best.wape * TOLERANCE:
        objections.append(f"has a larger error (WAPE {_decimal(own.wape)} against {_decimal(best.wape)})")
    return objections or [f"is no better than a naive model at any horizon ({_comparison(own, best)})"]


def _is_worse(own: Score, best: Score) -> bool:
    return not (own.cost <= best.cost * TOLERANCE and own.wape <= best.wape * TOLERANCE)


def _comparison(own: Score, best: Score) -> str:
    return (
        f"it costs {_decimal(own.cost)} against {_decimal(best.cost)} of {best.model}, "
        f"WAPE {_decimal(own.wape)} against {_decimal(best.wape)}"
    )


def _coverage(own: Score) -> str:
    return (
        f"{_percent(own.coverage)} of the demand was below its 0.9 quantile; a floor at that quantile is too low for "
        f"{_percent(own.short)} of the time, with {_decimal(own.hours, places=2)} of the replicas needed"
    )


def _cost(score: Score) -> float:
    return score.cost if score.cost == score.cost else float("inf")


def _decimal(value: float, places: int = 3) -> str:
    """Return a number for a sentence; a dash without demand to divide by."""
    return f"{value:.{places}f}" if math.isfinite(value) else "–"


def _percent(ratio: float) -> str:
    return f"{ratio:.1%}" if math.isfinite(ratio) else "–"
