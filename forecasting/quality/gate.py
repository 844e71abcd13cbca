"""May a model act, and how far ahead? Judged on days that it had not seen, by what it would do to scaling.

At each horizon the model stands against the naive ones; where one of those does better, that one acts. A newly trained
model stands against its forerunner as well (succession).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from forecasting.quality.scores import Score, Scores, scores
from forecasting.walk_forward import WalkForward

TOLERANCE = 1.02
SUCCESSION_TOLERANCE = 1.05
COVERAGE = (0.84, 0.96)
MIN_JUDGED = 144
"""Forecasts that must have been judged, at the least: half a day at 5 minutes."""


@dataclass(frozen=True, slots=True)
class ActingModel:
    """The model that acts up to a horizon, in bins ahead, from the horizon before it on."""

    horizon: int
    model: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed: the champion acts, at some horizon at least. acting: the model that acts where it does not say otherwise.

    evidence: one sentence with the numbers. by_horizon: ascending; empty where one model acts at all of them.
    """

    passed: bool
    acting: str
    evidence: str
    champion: Score | None
    baselines: tuple[Score, ...]
    by_horizon: tuple[ActingModel, ...] = ()

    def acting_at(self, step: int) -> str:
        """The model that acts so many bins ahead."""
        return acting_at(self.by_horizon, step, self.acting)


@dataclass(frozen=True, slots=True)
class Succession:
    """Whether a newly trained model takes over from its forerunner. evidence: one sentence with the numbers."""

    accepted: bool
    evidence: str


class ActingEntry(Protocol):
    """Acting, or a record of it."""

    @property
    def horizon(self) -> int:
        """In bins ahead."""
        ...

    @property
    def model(self) -> str:
        """Which one acts."""
        ...


def acting_at(table: Sequence[ActingEntry], step: int, otherwise: str) -> str:
    """Who acts so many bins ahead; beyond the table as at its end, without a table `otherwise`."""
    found = next((one for one in table if step <= one.horizon), table[-1] if table else None)
    return found.model if found else otherwise


def judge(champion: WalkForward, baselines: Sequence[WalkForward]) -> Verdict:
    """Compare calibrated forecasts of the same origins. The best naive model acts where the champion may not."""
    return judge_scores(scores(champion), [scores(walk) for walk in baselines])


def judge_scores(own: Scores, others: Sequence[Scores]) -> Verdict:
    """judge, for those who have the scores."""
    best = min((other.overall for other in others), key=_price)
    by_horizon = [_at(own, others, at) for at in range(len(own.horizons))]
    acts = any(model == own.overall.model for model in by_horizon)
    objections = _objections(own.overall, best, at_all=acts)
    whole = tuple(other.overall for other in others)
    if objections:
        said = f"{best.model} acts, as {own.overall.model} {' and '.join(objections)}"
        return Verdict(False, best.model, said, own.overall, whole)
    table = tuple(ActingModel(horizon, model) for horizon, model in zip(own.horizons, by_horizon, strict=True))
    exceptions = [one for one in table if one.model != own.overall.model]
    said = f"{own.overall.model} acts: {_compared(own.overall, best)}, and {_covered(own.overall)}"
    if exceptions:
        elsewhere = ", ".join(f"{exception.model} at {exception.horizon} bins ahead" for exception in exceptions)
        said += f"; but {elsewhere}, being better there"
    return Verdict(True, own.overall.model, said, own.overall, whole, table if exceptions else ())


def verdict_without_champion(baselines: Sequence[WalkForward], why: str) -> Verdict:
    """The verdict where there is no champion: the best naive model acts."""
    others = tuple(scores(walk).overall for walk in baselines)
    best = min(others, key=_price)
    return Verdict(False, best.model, f"{best.model} acts: {why}", None, others)


def compare_with_incumbent(challenger: WalkForward, previous: WalkForward) -> Succession:
    """Compare a challenger with the model in use, on the same origins, of which neither has seen anything."""
    new, old = scores(challenger).overall, scores(previous).overall
    compared = (
        f"cost {_decimal(new.cost)} against {_decimal(old.cost)}, "
        f"WAPE {_decimal(new.wape)} against {_decimal(old.wape)}"
    )
    if new.judged < MIN_JUDGED:
        return succession_without_comparison(new.judged)
    worse = new.cost > old.cost * SUCCESSION_TOLERANCE
    return Succession(not worse, f"{'does worse than' if worse else 'replaces'} the version before: {compared}")


def succession_without_comparison(judged: int) -> Succession:
    """Where so few forecasts can be compared, the newer model takes over."""
    return Succession(True, f"was not compared with the version before: {judged} forecasts since that was trained")


def _at(own: Scores, others: Sequence[Scores], at: int) -> str:
    """The model that acts at a horizon."""
    mine, best = own.by_horizon[at], min((other.by_horizon[at] for other in others), key=_price)
    return best.model if _is_worse(mine, best) else mine.model


def _objections(own: Score, best: Score, *, at_all: bool) -> list[str]:
    found: list[str] = []
    if own.judged < MIN_JUDGED:
        return [f"was judged on {own.judged} forecasts only, of at least {MIN_JUDGED}"]
    low, high = COVERAGE
    if not low <= own.coverage <= high:
        found.append(f"covers {_percent(own.coverage)} with its 0.9 quantile, outside {low:.0%} to {high:.0%}")
    if at_all:
        return found
    if not own.cost <= best.cost * TOLERANCE:
        found.insert(0, f"costs more ({_decimal(own.cost)} against {_decimal(best.cost)})")
    if not own.wape <= best.wape * TOLERANCE:
        found.append(f"errs more (WAPE {_decimal(own.wape)} against {_decimal(best.wape)})")
    return found or [f"does no better than a naive model at any horizon ({_compared(own, best)})"]


def _is_worse(own: Score, best: Score) -> bool:
    return not (own.cost <= best.cost * TOLERANCE and own.wape <= best.wape * TOLERANCE)


def _compared(own: Score, best: Score) -> str:
    return (
        f"it costs {_decimal(own.cost)} against {_decimal(best.cost)} of {best.model}, "
        f"WAPE {_decimal(own.wape)} against {_decimal(best.wape)}"
    )


def _covered(own: Score) -> str:
    return (
        f"{_percent(own.coverage)} stayed below its 0.9 quantile; as a floor that is short for {_percent(own.short)} "
        f"of the time at {_decimal(own.hours, places=2)} of the replicas needed"
    )


def _price(one: Score) -> float:
    return one.cost if one.cost == one.cost else float("inf")


def _decimal(value: float, places: int = 3) -> str:
    """A number in a sentence; a dash where there was no demand to divide by."""
    return f"{value:.{places}f}" if math.isfinite(value) else "–"


def _percent(ratio: float) -> str:
    return f"{ratio:.1%}" if math.isfinite(ratio) else "–"
