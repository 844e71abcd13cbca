"""Ports of the operator in memory: tables, demand and forecasts that tests control."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.forecast import Forecast
from predictive_scaling.control.current_forecasts import nothing_learned
from predictive_scaling.control.demand_window import MINUTE
from predictive_scaling.control.reconciler import ReconcileOutcome
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.serving.model_store import ForecastRequest
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.policies import PolicyRow
from predictive_scaling.storage.scaling_decisions import BEFORE, UNFINISHED, ScalingDecisionRow
from tests.support.builders import LONG_AGO, a_forecast


class InMemoryDecisions:
    """The table scaling_decisions, as far as the loop uses it. It may be unavailable, or become so at a call."""

    def __init__(self) -> None:
        self.rows: dict[str, ScalingDecisionRow] = {}
        self.is_away = False
        self.goes_away_at: str | None = None
        """The next call of this name, or of `transition to STATUS`, finds the database gone; it stays away then."""
        self.inserts: list[str] = []

    async def intend(self, decision: ScalingDecisionRow) -> bool:
        self._check("intend")
        if decision.id in self.rows:
            return False
        self.rows[decision.id] = decision
        self.inserts.append(decision.id)
        return True

    async def transition(
        self,
        id: str,  # noqa: A002 (the column's name)
        phase: DecisionPhase,
        now: datetime,
        *,
        reason: str | None = None,
        outcome: str | None = None,
        cause: str | None = None,
        deadline_at: datetime | None = None,
    ) -> bool:
        self._check(f"transition to {phase.stored}")
        row = self.rows.get(id)
        if row is None or row.phase not in BEFORE[phase]:
            return False
        attempts = row.attempts + (phase is DecisionPhase.EXECUTING)
        self.rows[id] = replace(
            row,
            status=phase.stored,
            attempts=attempts,
            reason=reason or row.reason,
            outcome=outcome or row.outcome,
            cause=cause or row.cause,
            deadline_at=deadline_at or row.deadline_at,
            started_at=row.started_at or now,
        )
        return True

    async def by_id(self, ids: Sequence[str]) -> dict[str, ScalingDecisionRow]:
        self._check("by_id")
        return {id: self.rows[id] for id in ids if id in self.rows}  # noqa: A001 (the column's name)

    async def known(self, ids: Sequence[str]) -> set[str]:
        self._check("known")
        return set(ids) & self.rows.keys()

    async def unfinished(self) -> list[ScalingDecisionRow]:
        self._check("unfinished")
        return [row for row in self.rows.values() if row.phase in UNFINISHED]

    async def last_of_each(self, policies: Iterable[tuple[str, str]]) -> dict[tuple[str, str], ScalingDecisionRow]:
        self._check("last_of_each")
        keys = set(policies)
        return {(row.namespace, row.policy): row for row in self.rows.values() if (row.namespace, row.policy) in keys}

    async def stuck(self, now: datetime) -> list[ScalingDecisionRow]:
        self._check("stuck")
        return [row for row in await self.unfinished() if row.deadline_at is not None and row.deadline_at < now]

    async def ping(self) -> None:
        self._check("ping")

    @property
    def statuses(self) -> list[str]:
        """In the order of the intents."""
        return [row.status for row in self.rows.values()]

    def _check(self, call: str) -> None:
        if self.goes_away_at == call:
            self.is_away, self.goes_away_at = True, None
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")


class ConstantDemand:
    """A source of demand that is the same in every minute from `since` until `until`."""

    def __init__(self, demand: float, until: datetime) -> None:
        self.demand = demand
        self.since = LONG_AGO
        self.until = until
        self.is_away = False

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")
        times = [since + index * MINUTE for index in range((until - since) // MINUTE)]
        values = np.array([self.demand if self.since <= at < self.until else np.nan for at in times])
        return dict.fromkeys(keys, values)


class FixedForecaster:
    """Forecasts one constant demand for every series. The batches that it was given are recorded."""

    effects = staticmethod(nothing_learned)

    def __init__(self, demand: float) -> None:
        self.demand = demand
        self.batches: list[list[ForecastRequest]] = []

    def forecast(self, requests: Mapping[Any, ForecastRequest], /) -> dict[Any, Forecast]:
        self.batches.append(list(requests.values()))
        return {
            name: a_forecast(*[self.demand] * request.steps, origin=request.series.end, step=request.series.step)
            for name, request in requests.items()
        }


class RecordedPredictions:
    """The table predictions, as far as the loop writes it."""

    def __init__(self) -> None:
        self.rows: list[Prediction] = []

    async def record(self, predictions: Sequence[Prediction]) -> None:
        self.rows += predictions


class NotUsed:
    """A port that the tests of the loop do not use: any use of it fails."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called on a port that this test did not provide")


class NoMetricSink:
    """A sink of external metrics that drops them."""

    def publish(self, policy: PolicyKey, outcome: ReconcileOutcome, max_age: timedelta) -> None:
        del policy, outcome, max_age

    def remove(self, policy: PolicyKey) -> None:
        del policy


class NoPolicies:
    """The table policies, of which nothing is read back."""

    async def record(self, rows: Sequence[PolicyRow]) -> None:
        del rows

    async def forget_others(self, kept: Sequence[tuple[str, str]], namespaces: Sequence[str] | None = None) -> int:
        del kept, namespaces
        return 0
