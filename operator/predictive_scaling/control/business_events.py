"""Where BusinessEvents stand: their status, and a row for each occurrence. Runs beside the tick."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import geometric_mean
from typing import Any, Protocol

import structlog

from forecasting.events import LearnedEffect
from predictive_scaling.clock import Clock
from predictive_scaling.control.forecasts import EffectsOf, nothing_learned, series_key
from predictive_scaling.decision.event_status import standing_of
from predictive_scaling.decision.known_events import known_event
from predictive_scaling.decision.occurrences import next_start, occurrences
from predictive_scaling.decision.surroundings import context_of
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.handlers.inventory import EventRecord, Inventory
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.conditions import Condition, merge, read_conditions
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey
from predictive_scaling.resources.statuses import BusinessEventStatus, Learned
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.targets.client import Cluster, ObjectNotFoundError, ObjectRefusedError

log = structlog.get_logger(__name__)

_PAST, _AHEAD = timedelta(days=400), timedelta(days=31)
_MOST_ROWS = 400
_DECIMALS = 2
_KNOWN = (ConditionType.READY.value, ConditionType.STALLED.value)


class EventTable(Protocol):
    """The part of storage.BusinessEvents that is written here."""

    async def record(self, occurrences: Sequence[BusinessEventRow]) -> None:
        """Keep occurrences as they are now."""
        ...

    async def forget(self, namespace: str, name: str, now: datetime) -> None:
        """A deleted event will not happen."""
        ...


@dataclass(slots=True)
class EventDesk:
    """Shows and records all events."""

    cluster: Cluster
    inventory: Inventory
    table: EventTable
    clock: Clock
    leads: Callable[[], bool]
    effects: EffectsOf = nothing_learned
    """What was learned of the events of a series."""
    _written: dict[str, Any] = field(default_factory=dict[str, Any])
    _recorded: dict[tuple[str, str, datetime], BusinessEventRow] = field(
        default_factory=dict[tuple[str, str, datetime], BusinessEventRow]
    )
    _known: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _rows: dict[str, tuple[object, list[BusinessEventRow]]] = field(
        default_factory=dict[str, tuple[object, list[BusinessEventRow]]]
    )

    async def turn(self) -> None:
        """One pass over all events. Raises ClusterUnavailableError."""
        now, records = self.clock.now(), self.inventory.events()
        matched = {record.uid: self._matched(record) for record in records}
        for record in records:
            if self.leads():
                await self._show(record, matched[record.uid], now)
        try:
            await self._record(records, matched, now)
        except DatabaseUnavailableError as error:
            log.debug("events_not_recorded_yet", error=str(error))

    def _matched(self, record: EventRecord) -> tuple[PolicyKey, ...]:
        event = record.event
        if event is None:
            return ()
        policies = (known.policy for known in self.inventory.policies())
        return tuple(
            sorted(
                policy.key
                for policy in policies
                if policy is not None and event.selects(policy.metadata.namespace, policy.metadata.labels)
            )
        )

    async def _show(self, record: EventRecord, matched: Sequence[PolicyKey], now: datetime) -> None:
        before = self._written.get(record.uid, record.status)
        learned = self._learned(record.event, matched, now) if record.event is not None else None
        status = _status(record, before, len(matched), learned, now)
        if status == before:
            return
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{record.namespace}/businessevents/{record.name}/status"
        same = {"op": "test", "path": "/metadata/uid", "value": record.uid}
        try:
            await self.cluster.edit(path, [same, {"op": "add", "path": "/status", "value": status}])
        except (ObjectNotFoundError, ObjectRefusedError) as error:
            log.info("event_status_not_written", event_name=f"{record.namespace}/{record.name}", error=str(error))
            return
        self._written[record.uid] = status

    def _learned(self, event: BusinessEvent, matched: Sequence[PolicyKey], now: datetime) -> Learned | None:
        """Of its next occurrence, or its last one: the mean of what it is expected to do to each of its policies."""
        start = next_start(event, now) or event.spec.start
        if not event.spec.type or start is None:
            return None
        known = known_event(event, start, start)
        ours = set(matched)
        policies = [one.policy for one in self.inventory.policies() if one.policy and one.policy.key in ours]
        by_series = {series_key(policy): context_of(policy).zone for policy in policies}
        found = [
            learned
            for key, zone in by_series.items()
            if (effects := self.effects(key)) is not None and (learned := effects.learned(known, zone)) is not None
        ]
        return _together(found) if found else None

    async def _record(
        self, records: Sequence[EventRecord], matched: dict[str, tuple[PolicyKey, ...]], now: datetime
    ) -> None:
        keys = {(record.namespace, record.name) for record in records}
        for namespace, name in self._known - keys:
            await self.table.forget(namespace, name, now)
        self._known = keys
        for gone in self._rows.keys() - matched.keys():
            del self._rows[gone]
            self._written.pop(gone, None)
        rows = [row for record in records for row in self._rows_of(record, matched[record.uid], now)]
        by_key = {(row.namespace, row.name, row.start_time): row for row in rows}
        changed = [row for key, row in by_key.items() if self._is_new(key, row)]
        if changed:
            await self.table.record(changed)
        self._recorded = by_key

    def _rows_of(self, record: EventRecord, matched: tuple[PolicyKey, ...], now: datetime) -> list[BusinessEventRow]:
        """Worked out anew only when something changed, and once a day: a rule of years has many occurrences."""
        if record.event is None:
            return []
        from_ = (record.generation, matched, _day(now))
        known = self._rows.get(record.uid)
        if known is None or known[0] != from_:
            known = self._rows[record.uid] = (from_, _rows(record.event, matched, now))
        return known[1]

    def _is_new(self, key: tuple[str, str, datetime], row: BusinessEventRow) -> bool:
        known = self._recorded.get(key)
        return known is None or replace(known, updated_at=row.updated_at) != row


def _together(found: Sequence[LearnedEffect]) -> Learned:
    """Rounded, so that a status changes when something was learned."""
    return Learned(
        multiplier=round(geometric_mean(one.multiplier for one in found), _DECIMALS),
        low=round(min(one.low for one in found), _DECIMALS),
        high=round(max(one.high for one in found), _DECIMALS),
        samples=max(one.samples for one in found),
    )


def _status(record: EventRecord, before: Any, matched: int, learned: Learned | None, now: datetime) -> dict[str, Any]:
    problem, event = record.problem, record.event
    standing = standing_of(event, now) if event is not None else None
    ready = (
        (ConditionStatus.FALSE, problem.reason, problem.message)
        if problem
        else (ConditionStatus.TRUE, "Accepted", f"it is for {matched} policies")
    )
    stalled = (
        (ConditionStatus.TRUE, problem.reason, problem.message)
        if problem
        else (ConditionStatus.FALSE, "Accepted", "nothing is written that can never work")
    )
    found = [
        Condition(type=type_, status=status, reason=reason, message=message, observed_generation=record.generation)
        for type_, (status, reason, message) in zip(_KNOWN, (ready, stalled), strict=True)
    ]
    return BusinessEventStatus(
        observed_generation=record.generation,
        phase=standing.phase if standing else None,
        next_start=standing.next_start if standing else None,
        matched_policies=matched,
        learned=learned,
        conditions=merge(read_conditions(before), found, now, _KNOWN),
    ).to_manifest()


def _rows(event: BusinessEvent, matched: Sequence[PolicyKey], now: datetime) -> list[BusinessEventRow]:
    spec = event.spec
    return [
        BusinessEventRow(
            namespace=event.metadata.namespace,
            name=event.metadata.name,
            type=spec.type,
            start_time=one.start,
            end_time=one.end,
            multiplier=spec.expect.multiplier,
            min_replicas=spec.expect.min_replicas,
            priority=spec.priority,
            policies=tuple(key.name for key in matched),
            updated_at=now,
        )
        for one in occurrences(event, _day(now) - _PAST, _day(now) + _AHEAD, _MOST_ROWS)
    ]


def _day(now: datetime) -> datetime:
    # Whole days, so that occurrences are worked out anew once a day only where nothing else changes.
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
