"""Writes the status of BusinessEvents and a row for each occurrence, in the background."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import geometric_mean

import structlog

from forecasting.events import LearnedEffect
from predictive_scaling.clock import Clock
from predictive_scaling.cluster.client import Cluster, ObjectConflictError, ObjectNotFoundError, ObjectRefusedError
from predictive_scaling.cluster.informer_cache import EventRecord, InformerCache
from predictive_scaling.control.current_forecasts import EffectsOf, nothing_learned, series_key
from predictive_scaling.control.event_calendar import EVENTS_FAILED, EventCalendar
from predictive_scaling.control.jobs.event_history import EventHistoryRecorder, EventTable
from predictive_scaling.decision.events.active_occurrences import event_progress
from predictive_scaling.decision.events.occurrences import Expansion, known_event
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.decision.review import Problem, unexpected_problem
from predictive_scaling.decision.spans import Span
from predictive_scaling.errors import DatabaseUnavailableError, RequestFailedError, RequestTimedOutError
from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import BusinessEventStatus, Learned, parse_event_status
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType

log = structlog.get_logger(__name__)

_OF_ONE_OBJECT = (
    ObjectNotFoundError,
    ObjectRefusedError,
    ObjectConflictError,
    RequestFailedError,
    RequestTimedOutError,
)
"""Errors of writing the status of a single object; writes of other objects may succeed."""

_DECIMALS = 2
_OWN_CONDITIONS = (ConditionType.READY.value, ConditionType.STALLED.value)


@dataclass(slots=True)
class BusinessEventController:
    """Shows and records all events."""

    cluster: Cluster
    cache: InformerCache
    table: EventTable
    clock: Clock
    leads: Callable[[], bool]
    effects: EffectsOf = nothing_learned
    """What was learned of the events of a series."""
    calendar: EventCalendar = field(default_factory=EventCalendar)
    namespaces: tuple[str, ...] = ()
    """What is watched; none means all."""
    _written: dict[str, BusinessEventStatus] = field(default_factory=dict[str, BusinessEventStatus])
    _recorder: EventHistoryRecorder | None = None

    async def run(self) -> None:
        """One pass over all events. Raises ClusterUnavailableError."""
        if not self.leads() or not self.cache.is_complete:
            return
        now, records = self.clock.now(), self.cache.events()
        await self.calendar.around(records, now)
        matched = self._matched(records)
        for gone in self._written.keys() - matched.keys():
            del self._written[gone]
        for record in records:
            if not self.leads():
                return
            await self._show(record, matched[record.uid], now)
        self._recorder = self._recorder or EventHistoryRecorder(self.table)
        try:
            await self._recorder.record(records, matched, self.namespaces, now)
        except DatabaseUnavailableError as error:
            log.debug("events_not_recorded_yet", error=str(error))

    def _matched(self, records: Sequence[EventRecord]) -> dict[str, tuple[PolicyKey, ...]]:
        """The policies that each event is for, by its uid."""
        policies = defaultdict[str, list[ScalingPolicy]](list)
        for record in self.cache.policies():
            if record.policy is not None:
                policies[record.key.namespace].append(record.policy)
        return {
            record.uid: tuple(
                sorted(
                    policy.key
                    for policy in policies[record.namespace]
                    if record.event is not None and record.event.selects(record.namespace, policy.metadata.labels)
                )
            )
            for record in records
        }

    async def _show(self, record: EventRecord, matched: Sequence[PolicyKey], now: datetime) -> None:
        before = self._written.get(record.uid)
        try:
            before = before or parse_event_status(record.status)
            status = self._status(record, matched, before, now)
        except Exception as error:  # a failure of one event is reported in its status and affects no other
            EVENTS_FAILED.inc()
            log.exception("event_status_failed", event_name=f"{record.namespace}/{record.name}")
            status = _status(record, unexpected_problem(error), None, BusinessEventStatus(), len(matched), None, now)
        if status == before:
            return
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{record.namespace}/businessevents/{record.name}/status"
        same = {"op": "test", "path": "/metadata/uid", "value": record.uid}
        try:
            await self.cluster.edit(path, [same, {"op": "add", "path": "/status", "value": status.to_manifest()}])
        except _OF_ONE_OBJECT as error:
            log.info("event_status_not_written", event_name=f"{record.namespace}/{record.name}", error=str(error))
            return
        self._written[record.uid] = status

    def _status(
        self, record: EventRecord, matched: Sequence[PolicyKey], before: BusinessEventStatus, now: datetime
    ) -> BusinessEventStatus:
        expansion = self.calendar.expansion(record.uid) if record.event is not None else None
        learned = self._learned(expansion, matched, now) if expansion is not None else None
        problem = record.problem or self.calendar.problem_of(record.uid)
        return _status(record, problem, expansion, before, len(matched), learned, now)

    def _learned(self, expansion: Expansion, matched: Sequence[PolicyKey], now: datetime) -> Learned | None:
        """Return the mean expected effect of the next occurrence, or the last one, over the matched policies."""
        event = expansion.event
        start = expansion.next_start(now) or event.spec.start
        if not event.spec.type or start is None:
            return None
        occurrence = known_event(event, Span(start, start))
        ours = set(matched)
        policies = [policy.policy for policy in self.cache.policies() if policy.policy and policy.policy.key in ours]
        by_series = {series_key(policy): forecast_context(policy).zone for policy in policies}
        learned_effects = [
            learned
            for key, zone in by_series.items()
            if (effects := self.effects(key)) is not None
            and (learned := effects.learned_effect(occurrence, zone)) is not None
        ]
        return _mean_effect(learned_effects) if learned_effects else None


def _mean_effect(effects: Sequence[LearnedEffect]) -> Learned:
    """Return the rounded mean effect, so that the status changes only after something was learned."""
    return Learned(
        multiplier=round(geometric_mean(effect.multiplier for effect in effects), _DECIMALS),
        low=round(min(effect.low for effect in effects), _DECIMALS),
        high=round(max(effect.high for effect in effects), _DECIMALS),
        samples=max(effect.samples for effect in effects),
    )


def _status(
    record: EventRecord,
    problem: Problem | None,
    expansion: Expansion | None,
    before: BusinessEventStatus,
    matched: int,
    learned: Learned | None,
    now: datetime,
) -> BusinessEventStatus:
    progress = event_progress(expansion, now) if expansion is not None and problem is None else None
    ready = (
        (ConditionStatus.FALSE, problem.reason, problem.message)
        if problem
        else (ConditionStatus.TRUE, "Accepted", f"it is for {matched} policies")
    )
    stalled = (
        (ConditionStatus.TRUE, problem.reason, problem.message)
        if problem
        else (ConditionStatus.FALSE, "Accepted", "the spec has no permanent error")
    )
    conditions = [
        Condition(type=type_, status=status, reason=reason, message=message, observed_generation=record.generation)
        for type_, (status, reason, message) in zip(_OWN_CONDITIONS, (ready, stalled), strict=True)
    ]
    return BusinessEventStatus(
        observed_generation=record.generation,
        phase=progress.phase if progress else None,
        next_start=progress.next_start if progress else None,
        matched_policies=matched,
        learned=learned,
        conditions=merge(before.conditions, conditions, now, _OWN_CONDITIONS),
    )
