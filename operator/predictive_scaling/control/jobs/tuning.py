"""Studies each policy's last days in child processes: the cost of safety at each quantile."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from prometheus_client import Counter

from forecasting.scaling.frontier import Point
from predictive_scaling.clock import Clock, has_elapsed, monotonic
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.current_forecasts import series_key
from predictive_scaling.control.demand_window import HISTORY, DemandWindow, whole_minute
from predictive_scaling.control.jobs.subprocesses import run_child
from predictive_scaling.control.namespace_turns import NamespaceTurns
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.tuning_cache import TunedQuantile, TuningCache, target_of
from predictive_scaling.decision.formatting import quantile_name
from predictive_scaling.decision.inputs import Situation
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.tunings import TuningRow
from predictive_scaling.training.demand_history import PastEvents
from predictive_scaling.tuning.recent import MAX_SPAN, MIN_SPAN
from predictive_scaling.tuning.task import (
    ENCODE,
    RESULT_DECODER,
    Failed,
    Span,
    Task,
    Tuning,
    prices_of,
    reach_for,
    step_for,
)

log = structlog.get_logger(__name__)

TUNINGS = Counter("predictive_scaling_tunings_total", "Studies of the last days of a policy.")

_BATCH_SIZE = 8
"""Policies per child process: starting a process costs a fifth of a study."""
_TIMEOUT_SECONDS = 300.0
_WORKER = ("predictive_scaling.tuning.worker",)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_REST = 4.0
"""Pause after a run, as a multiple of its length, so that runs use at most a fifth of a core."""
_RETRY = timedelta(hours=1)
_NEVER = datetime.fromisoformat("0001-01-01T00:00:00+00:00")

Study = Callable[[Sequence[Task]], Awaitable[Sequence[Tuning | Failed]]]
"""Studies several policies; returns the results in their order."""


class ForecastHistory(Protocol):
    """The part of storage.Predictions that is read here."""

    async def at_intervals(
        self, namespace: str, policy: str, *, since: datetime, until: datetime, interval: timedelta, reach: timedelta
    ) -> bytes:
        """A policy's last forecast made in each interval of (since, until], packed."""
        ...


class TuningTable(Protocol):
    """The part of storage.Tunings that is used here."""

    async def all(self) -> Sequence[TuningRow]:
        """Return the rows of all policies."""
        ...

    async def record(self, rows: Sequence[TuningRow]) -> None:
        """Record the newest row of each policy."""
        ...

    async def forget(self, policies: Sequence[tuple[str, str]]) -> None:
        """Remove the rows of deleted policies."""
        ...


async def study_in_child(tasks: Sequence[Task]) -> Sequence[Tuning | Failed]:
    """Study tasks in a child process. If it fails, study each task in a process of its own.

    A crash or hang of the process thus only delays the other policies of the batch.
    """
    try:
        ended = await run_child(
            _WORKER, stdin=ENCODE(list(tasks)), timeout_seconds=_TIMEOUT_SECONDS, environment=_ONE_THREAD
        )
    except TimeoutError:
        why = f"the child process was not done after {_TIMEOUT_SECONDS:.0f} s"
    else:
        if not ended.exit_code:
            return RESULT_DECODER.decode(ended.output)
        why = f"the child process ended with {ended.exit_code}: {ended.stderr_tail}"
    if len(tasks) == 1:
        return [Failed(why)]
    return [result for task in tasks for result in await study_in_child([task])]


@dataclass(slots=True)
class TuningScheduler:
    """Studies each deciding policy once per `interval`; a quantile moves at most that often.

    Namespaces take turns. Of each, policies with an objective and without a frontier come first, then those with the
    oldest study.
    """

    predictions: ForecastHistory
    past: PastEvents
    table: TuningTable
    tunings: TuningCache
    window: DemandWindow
    states: PolicyStates
    cache: InformerCache
    events: KubernetesEvents
    clock: Clock
    interval: timedelta
    study: Study = field(default=study_in_child)
    rest: float = _REST
    _turns: NamespaceTurns = field(default_factory=NamespaceTurns)
    _tried: dict[PolicyKey, datetime] = field(default_factory=dict[PolicyKey, datetime])
    _rested_at: float = 0.0
    _is_loaded: bool = False

    def __post_init__(self) -> None:
        self.tunings.moved.append(self._emit)

    async def run(self) -> None:
        """Study the most urgent policies. Raises DatabaseUnavailableError."""
        if not self._is_loaded:
            self.tunings.load(await self.table.all())
            self._is_loaded = True
        await self._forget()
        due = self._due(self.clock.now()) if monotonic() >= self._rested_at else []
        if not due:
            return
        began = monotonic()
        try:
            await self._study_due(due)
        finally:
            self._rested_at = monotonic() + self.rest * (monotonic() - began)

    async def _study_due(self, due: Sequence[tuple[PolicyKey, Situation]]) -> None:
        now = self.clock.now()
        past = await self.past.between(now - HISTORY, now)
        tasks: dict[PolicyKey, Task] = {}
        for key, situation in due:
            try:
                tasks[key] = await self._task(key, situation, past)
            except DatabaseUnavailableError:
                raise
            except Exception:  # a policy that cannot be looked back on holds up no other
                self._tried[key] = now
                log.exception("tuning_failed", policy=str(key))
        if tasks:
            await self._apply(tasks, await self.study(list(tasks.values())))

    def _due(self, now: datetime) -> list[tuple[PolicyKey, Situation]]:
        """Return the most urgent policies."""
        due: list[tuple[bool, datetime, PolicyKey, Situation]] = []
        for key, state in self.states.by_key().items():
            situation = state.situation
            if situation is None or situation.per_replica is None or not situation.per_replica > 0:
                continue
            tuned = self.tunings.get(key)
            if self._is_due(key, situation, tuned, now):
                waits = tuned is not None and not tuned.is_stale
                unpriced = prices_of(situation.policy.spec) is None
                due.append((waits or unpriced, tuned.tuned_at if tuned else _NEVER, key, situation))
        due.sort(key=lambda candidate: candidate[:3])
        batch = self._turns.order(due, lambda candidate: candidate[2].namespace)[:_BATCH_SIZE]
        self._turns.take(key.namespace for _, _, key, _ in batch)
        return [(key, situation) for _, _, key, situation in batch]

    def _is_due(self, key: PolicyKey, situation: Situation, tuned: TunedQuantile | None, now: datetime) -> bool:
        if self.window.observed(series_key(situation.policy)) < 2 * MIN_SPAN or not has_elapsed(
            _RETRY, self._tried.get(key, _NEVER), now
        ):
            return False
        if tuned is None or tuned.is_stale or (tuned.prices is None) != (prices_of(situation.policy.spec) is None):
            return True
        moved = abs(tuned.hpa_target - target_of(situation.policy, situation.observed)) > 1e-9
        return moved or has_elapsed(self.interval, tuned.tuned_at, now)

    async def _task(self, key: PolicyKey, situation: Situation, past: Sequence[BusinessEventRow]) -> Task:
        policy, observed, lead_time = situation.policy, situation.observed, situation.lead_time
        series, now, step = series_key(policy), self.clock.now(), step_for(lead_time)
        newest = self.window.newest(series, zero_is_valid=policy.spec.demand.zero_is_valid)
        until = newest.at if newest is not None else whole_minute(now)
        begins_at, tuned = whole_minute(now) - HISTORY, self.tunings.get(key)
        return Task(
            policy={
                "metadata": {"name": key.name, "namespace": key.namespace},
                "spec": policy.spec.to_manifest(),
            },
            per_replica=situation.per_replica or 1.0,
            hpa_target=target_of(policy, observed),
            maximum=observed.maximum,
            lead_time_seconds=lead_time.total_seconds(),
            begins_at=begins_at,
            minutes=self.window.minutes(series, begins_at, until).astype("float32").tobytes(),
            recorded=await self.predictions.at_intervals(
                *key, since=until - MAX_SPAN, until=until, interval=step, reach=step * reach_for(lead_time)
            ),
            unjudged=tuple(
                Span(row.start_time - lead_time, row.end_time)
                for row in past
                if row.namespace == key.namespace and key.name in row.policies
            ),
            now=now,
            tuner_state=tuned.held if tuned is not None else None,
            advised=tuned.advised if tuned is not None else None,
        )

    async def _apply(self, tasks: Mapping[PolicyKey, Task], results: Sequence[Tuning | Failed]) -> None:
        now, rows = self.clock.now(), list[TuningRow]()
        for key, result in zip(tasks, results, strict=True):
            self._tried[key] = now
            if isinstance(result, Failed):
                log.info("tuning_failed", policy=str(key), message=result.reason)
            else:
                rows.append(_row(key, result, now))
        await self.table.record(rows)
        for row in rows:
            key = PolicyKey(row.namespace, row.policy)
            del self._tried[key]
            self.tunings.put(key, TunedQuantile.of(row))
        TUNINGS.inc(len(rows))

    async def _forget(self) -> None:
        if self.cache.is_complete:
            kept = {record.key for record in self.cache.policies()}
            gone = self.tunings.forget(kept)
            if gone:
                await self.table.forget(gone)
            for key in self._tried.keys() - kept:
                del self._tried[key]

    def _emit(self, key: PolicyKey, before: float | None, choice: TunedQuantile) -> None:
        record = self.cache.policy(key)
        if record is not None:
            instead = f" in place of {quantile_name(before)}" if before is not None else ""
            self.events.emit(
                record, EventReason.QUANTILE_TUNED, f"{quantile_name(choice.quantile)}{instead}: {choice.why}"
            )


def _row(key: PolicyKey, tuning: Tuning, now: datetime) -> TuningRow:
    prices, held = tuning.prices, tuning.tuner_state
    return TuningRow(
        namespace=key.namespace,
        policy=key.name,
        tuned_at=now,
        since=tuning.since,
        until=tuning.until,
        under_provisioned_minute=prices.under_provisioned_minute if prices else None,
        replica_hour=prices.replica_hour if prices else None,
        quantile=tuning.quantile,
        moved_at=held.moved_at if held else None,
        rising=held.rising if held else None,
        turns=held.reversals if held else 0,
        hpa_target=tuning.hpa_target,
        advised_target=tuning.advised,
        saved=tuning.saved,
        hours_saved=tuning.hours_saved,
        message=tuning.message,
        recorded_share=tuning.recorded_share,
        alone=_numbers(tuning.hpa_only),
        points=[_numbers(point) for point in tuning.points],
    )


def _numbers(point: Point) -> tuple[float, ...]:
    return (
        point.quantile,
        point.hpa_target,
        point.under_provisioned_share,
        point.lost_demand_share,
        point.minutes,
        point.replica_hours,
    )
