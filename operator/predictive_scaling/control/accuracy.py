"""How good the forecasts were, once their time had come (status.accuracy, model_performance; from there the API
makes `prediction_mape`).
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from predictive_scaling.clock import Clock
from predictive_scaling.control.demand_window import BIN, MINUTE, DemandWindow, whole_minute
from predictive_scaling.control.forecasts import Need
from predictive_scaling.control.state import PolicyState, States
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import AccuracyStatus
from predictive_scaling.storage.model_performance import ModelPerformance
from predictive_scaling.storage.predictions import Prediction

WINDOW = timedelta(hours=24)
EVERY = timedelta(minutes=15)


class PredictionHistory(Protocol):
    """The part of storage.Predictions that is read here."""

    async def ahead(
        self, lead: timedelta, since: datetime, until: datetime, policy: tuple[str, str] | None = None
    ) -> Sequence[Prediction]:
        """For each target time, the last forecast made at least `lead` before it."""
        ...


class PerformanceTable(Protocol):
    """The part of storage.ModelPerformances that is written here."""

    async def record(self, rows: Sequence[ModelPerformance]) -> None:
        """Keep scores."""
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over target times; sums of sums are sums again."""

    until: datetime
    samples: int = 0
    absolute_error: float = 0.0
    error: float = 0.0
    demand: float = 0.0
    relative_error: float = 0.0
    relative_samples: int = 0
    covered: int = 0


@dataclass(slots=True)
class Accuracy:
    """Scores the forecasts whose time came since the last pass, and keeps a day of scores."""

    predictions: PredictionHistory
    table: PerformanceTable
    window: DemandWindow
    states: States
    clock: Clock
    _scores: dict[PolicyKey, deque[Score]] = field(default_factory=dict[PolicyKey, deque[Score]])

    async def turn(self) -> None:
        """One pass over all policies that have forecasts. Raises DatabaseUnavailableError."""
        now, states = self.clock.now(), self.states.by_key()
        for gone in self._scores.keys() - states.keys():
            del self._scores[gone]
        rows = [row for key, state in states.items() if (row := await self._score(key, state, now)) is not None]
        if rows:
            await self.table.record(rows)

    async def _score(self, key: PolicyKey, state: PolicyState, now: datetime) -> ModelPerformance | None:
        need = state.need
        if need is None:
            return None
        kept = self._scores.setdefault(key, deque())
        until = whole_minute(now) - BIN
        since = kept[-1].until if kept else until - WINDOW
        if until <= since:
            return None
        lead = max(need.lead_time, BIN)
        made = await self.predictions.ahead(lead, since, until, (key.namespace, key.name))
        kept.append(self._compare(need, made, until))
        while kept and kept[0].until <= until - WINDOW:
            kept.popleft()
        if not made:
            return None
        row = _performance(need, made[-1], total(kept, until), now)
        state.accuracy = AccuracyStatus(wape=row.wape, mape=row.mape, coverage=row.coverage, window=row.period)
        return row

    def _compare(self, need: Need, made: Sequence[Prediction], until: datetime) -> Score:
        pairs = [(self._actual(need, one.target_time), one) for one in made]
        return score([(actual, one.p50, one.p90) for actual, one in pairs if actual is not None], until)

    def _actual(self, need: Need, at: datetime) -> float | None:
        minutes = self.window.minutes(need.series, at, at + BIN)
        seen = minutes[np.isfinite(minutes)]
        if len(seen) < BIN // MINUTE / 2 or (not need.policy.spec.demand.zero_is_valid and not seen.any()):
            return None
        return float(seen.mean())


def score(triples: Iterable[tuple[float, float, float]], until: datetime) -> Score:
    """The sums of (actual, p50, p90) over target times."""
    seen = list(triples)
    relative = [abs(p50 - actual) / actual for actual, p50, _ in seen if actual > 0]
    return Score(
        until=until,
        samples=len(seen),
        absolute_error=sum(abs(p50 - actual) for actual, p50, _ in seen),
        error=sum(p50 - actual for actual, p50, _ in seen),
        demand=sum(actual for actual, _, _ in seen),
        relative_error=sum(relative),
        relative_samples=len(relative),
        covered=sum(actual <= p90 for actual, _, p90 in seen),
    )


def total(scores: Iterable[Score], until: datetime) -> Score:
    """All scores as one."""
    parts = list(scores)
    return Score(
        until=until,
        samples=sum(one.samples for one in parts),
        absolute_error=sum(one.absolute_error for one in parts),
        error=sum(one.error for one in parts),
        demand=sum(one.demand for one in parts),
        relative_error=sum(one.relative_error for one in parts),
        relative_samples=sum(one.relative_samples for one in parts),
        covered=sum(one.covered for one in parts),
    )


def _performance(need: Need, newest: Prediction, all_of_them: Score, now: datetime) -> ModelPerformance:
    return ModelPerformance(
        created_at=now,
        model_name=newest.model_name,
        model_version=newest.model_version,
        service_name=need.policy.service,
        namespace=need.key.namespace,
        policy=need.key.name,
        period=WINDOW,
        mape=_ratio(all_of_them.relative_error, all_of_them.relative_samples),
        wape=_ratio(all_of_them.absolute_error, all_of_them.demand),
        bias=_ratio(all_of_them.error, all_of_them.demand),
        coverage=_ratio(all_of_them.covered, all_of_them.samples),
        samples=all_of_them.samples,
    )


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole else None
