"""Ports of the operator in memory: tables, demand and forecasts that tests control."""

from collections.abc import Collection, Iterable, Mapping, Sequence
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
from predictive_scaling.resources.shadow_status import MAX_SHADOW_DIFFERENCES
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.serving.model_store import ForecastRequest
from predictive_scaling.storage.business_events import ObservedOccurrence
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.policies import PolicyRow
from predictive_scaling.storage.scaling_decisions import BEFORE, UNFINISHED, ScalingDecisionRow
from predictive_scaling.storage.shadow_hours import (
    HourDifference,
    ShadowAccount,
    ShadowHour,
    ShadowKey,
)
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

    async def since_of_each(self, since: Mapping[tuple[str, str], datetime]) -> list[ScalingDecisionRow]:
        self._check("since_of_each")
        known = [row for row in self.rows.values() if (row.namespace, row.policy) in since]
        rows = [row for row in known if row.created_at > since[row.namespace, row.policy]]
        return sorted(rows, key=lambda row: (row.created_at, row.id))

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
        self.known: list[SeriesKey] = []
        """The recorded series."""

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")
        values = np.full((until - since) // MINUTE, np.nan)
        first, end = (max(0, -((since - limit) // MINUTE)) for limit in (self.since, self.until))
        values[first:end] = self.demand
        return dict.fromkeys(keys, values)

    async def recorded(self, since: datetime) -> list[SeriesKey]:
        del since
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")
        return self.known


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


class InMemoryShadowHours:
    """The table shadow_hours, and the decisions that its accounts count. It may be unavailable."""

    def __init__(self, decisions: InMemoryDecisions) -> None:
        self.decisions = decisions
        self.rows: dict[tuple[str, str, datetime], ShadowHour] = {}
        self.is_away = False

    async def record(self, rows: Sequence[ShadowHour]) -> None:
        self._check()
        self.rows |= {(row.namespace, row.policy, row.since): row for row in rows}

    async def of_keys(self, keys: Sequence[ShadowKey], since: datetime) -> list[ShadowHour]:
        self._check()
        return [row for row in self.rows.values() if row.key in keys and row.since >= since]

    async def accounts(self, keys: Sequence[ShadowKey], since: datetime) -> list[ShadowAccount]:
        self._check()
        hours = {key: [row for row in self.rows.values() if row.key == key and row.since > since] for key in keys}
        return [self._account(key, rows) for key, rows in hours.items() if rows]

    async def forget_others(self, kept: Collection[tuple[str, str, str]], namespaces: Sequence[str] | None) -> None:
        self._check()
        self.rows = {
            place: row
            for place, row in self.rows.items()
            if (*place[:2], row.policy_uid) in kept or (namespaces is not None and place[0] not in namespaces)
        }

    def _account(self, key: ShadowKey, rows: Sequence[ShadowHour]) -> ShadowAccount:
        differences = [
            HourDifference(
                row.since, row.minutes_short - row.auto_minutes_short, row.auto_replica_hours - row.replica_hours
            )
            for row in rows
        ]
        differences.sort(
            key=lambda hour: (abs(hour.minutes_short_avoided), abs(hour.replica_hours_added)), reverse=True
        )
        since, until = min(row.since for row in rows), max(row.until for row in rows)
        return ShadowAccount(
            key,
            since,
            until,
            covered_minutes=sum(row.covered_minutes for row in rows),
            minutes_short=sum(row.minutes_short for row in rows),
            auto_minutes_short=sum(row.auto_minutes_short for row in rows),
            replica_hours=sum(row.replica_hours for row in rows),
            auto_replica_hours=sum(row.auto_replica_hours for row in rows),
            decisions=sum(
                row.policy_uid == key.policy_uid and row.status == "recommended" and since <= row.created_at < until
                for row in self.decisions.rows.values()
            ),
            largest=tuple(
                hour
                for hour in differences[:MAX_SHADOW_DIFFERENCES]
                if hour.minutes_short_avoided or hour.replica_hours_added
            ),
        )

    def _check(self) -> None:
        if self.is_away:
            raise DatabaseUnavailableError("PostgreSQL is away")


class ObservedOccurrences:
    """The table business_events, of which only the observed multipliers are kept."""

    def __init__(self) -> None:
        self.observed: list[ObservedOccurrence] = []

    async def schedules(self) -> dict[Any, Any]:
        return {}

    async def names(self) -> set[Any]:
        return set()

    async def replace(self, name: Any, history: Any, changed: Any) -> None:
        del name, history, changed

    async def cancel(self, name: Any, seen_until: Any) -> None:
        del name, seen_until

    async def record_observed(self, observed: ObservedOccurrence) -> None:
        self.observed.append(observed)


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
