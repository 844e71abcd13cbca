"""Writes the status of BusinessEvents and a row for each occurrence, in the background."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
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
from predictive_scaling.control.jobs.multiplier_reviews import (
    EventReview,
    MultiplierReviews,
    condition_of,
    count_wrong,
    observed_occurrence,
)
from predictive_scaling.control.namespace_turns import NamespaceTurns
from predictive_scaling.decision.events.active_occurrences import event_progress
from predictive_scaling.decision.events.occurrences import Expansion, known_event
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.decision.review import Problem, unexpected_problem
from predictive_scaling.decision.spans import Span
from predictive_scaling.errors import DatabaseUnavailableError, RequestFailedError, RequestTimedOutError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.conditions import Condition, merge
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import BusinessEventStatus, Learned, parse_event_status
from predictive_scaling.resources.vocabulary import ConditionStatus, EventConditionType
from predictive_scaling.storage.business_events import ObservedOccurrence

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
    reviews: MultiplierReviews | None = None
    """Compares declared multipliers with demand; None where demand is not read."""
    _turns: NamespaceTurns = field(default_factory=NamespaceTurns)
    _written: dict[str, BusinessEventStatus] = field(default_factory=dict[str, BusinessEventStatus])
    _recorder: EventHistoryRecorder | None = None
    _observed: dict[str, ObservedOccurrence] = field(default_factory=dict[str, ObservedOccurrence])
    """What was last recorded, by the uid of the event."""

    async def run(self) -> None:
        """One pass over all events. Raises ClusterUnavailableError."""
        if not self.leads() or not self.cache.is_complete:
            count_wrong(())
            return
        now, records = self.clock.now(), self._turns.order(self.cache.events(), lambda record: record.namespace)
        await self.calendar.around(records, now)
        matched = await self._matched(records)
        for kept in (self._written, self._observed):
            for gone in kept.keys() - matched.keys():
                del kept[gone]
        reviews = await self.reviews.review(records, matched, self.calendar, now) if self.reviews is not None else {}
        for record in records:
            if not self.leads():
                return
            self._turns.take((record.namespace,))
            await self._show(record, matched[record.uid], reviews.get(record.uid), now)
        count_wrong(self._written.values())
        self._recorder = self._recorder or EventHistoryRecorder(self.table)
        try:
            await self._recorder.record(records, matched, self.namespaces, now)
            await self._record_observed(records, reviews)
        except DatabaseUnavailableError as error:
            log.debug("events_not_recorded_yet", error=str(error))

    async def _record_observed(self, records: Sequence[EventRecord], reviews: Mapping[str, EventReview]) -> None:
        for record in records:
            review = reviews.get(record.uid)
            observed = observed_occurrence(record, review) if review is not None else None
            if observed is not None and self._observed.get(record.uid) != observed:
                await self.table.record_observed(observed)
                self._observed[record.uid] = observed

    async def _matched(self, records: Sequence[EventRecord]) -> dict[str, tuple[PolicyKey, ...]]:
        """The policies that each event is for, by its uid. Events of a namespace with equal selectors share them.

        Yields to other tasks in between.
        """
        policies = defaultdict[str, list[ScalingPolicy]](list)
        for record in self.cache.policies():
            if record.policy is not None:
                policies[record.key.namespace].append(record.policy)
        selected: dict[tuple[str, str], tuple[PolicyKey, ...]] = {}
        matched: dict[str, tuple[PolicyKey, ...]] = {}
        for record in records:
            matched[record.uid] = ()
            if record.event is None:
                continue
            try:
                selector = record.namespace, record.event.spec.policies.model_dump_json()
                if selector not in selected:
                    selected[selector] = _selected(record.event, policies[record.namespace])
                    await asyncio.sleep(0)
                matched[record.uid] = selected[selector]
            except Exception:  # a failure of one event affects no other
                EVENTS_FAILED.inc()
                log.exception("event_not_matched", event_name=f"{record.namespace}/{record.name}")
        return matched

    async def _show(
        self, record: EventRecord, matched: Sequence[PolicyKey], review: EventReview | None, now: datetime
    ) -> None:
        before = self._written.get(record.uid)
        try:
            before = before or parse_event_status(record.status)
            status = self._status(record, matched, before, review, now)
        except Exception as error:  # a failure of one event is reported in its status and affects no other
            EVENTS_FAILED.inc()
            log.exception("event_status_failed", event_name=f"{record.namespace}/{record.name}")
            problem, before = unexpected_problem(error), before or BusinessEventStatus()
            status = _status(record, problem, None, BusinessEventStatus(), len(matched), None, None, now)
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
        if self.reviews is not None:
            self.reviews.report(record, before, status)

    def _status(
        self,
        record: EventRecord,
        matched: Sequence[PolicyKey],
        before: BusinessEventStatus,
        review: EventReview | None,
        now: datetime,
    ) -> BusinessEventStatus:
        expansion = self.calendar.expansion(record.uid) if record.event is not None else None
        learned = self._learned(expansion, matched, now) if expansion is not None else None
        problem = record.problem or self.calendar.problem_of(record.uid)
        return _status(record, problem, expansion, before, len(matched), learned, review, now)

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


def _selected(event: BusinessEvent, policies: Sequence[ScalingPolicy]) -> tuple[PolicyKey, ...]:
    """Return the policies that an event is for. policies: those of its namespace."""
    namespace = event.metadata.namespace
    return tuple(sorted(policy.key for policy in policies if event.selects(namespace, policy.metadata.labels)))


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
    review: EventReview | None,
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
        for type_, (status, reason, message) in (
            (EventConditionType.READY.value, ready),
            (EventConditionType.STALLED.value, stalled),
        )
    ]
    accurate, observed = condition_of(record, review, before) if problem is None else (None, ())
    return BusinessEventStatus(
        observed_generation=record.generation,
        phase=progress.phase if progress else None,
        next_start=progress.next_start if progress else None,
        matched_policies=matched,
        learned=learned,
        observed=observed,
        conditions=merge(
            before.conditions,
            conditions if accurate is None else [*conditions, accurate],
            now,
            [type_.value for type_ in EventConditionType],
        ),
    )
