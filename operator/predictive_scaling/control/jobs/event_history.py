"""Keep the table of occurrences true: what was moved or deleted before it took place is not learned from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.event_calendar import EVENTS_FAILED
from predictive_scaling.decision.events.occurrences import latest_occurrences, occurrences
from predictive_scaling.decision.spans import Span
from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.storage.business_events import (
    BusinessEventRow,
    EventHistory,
    EventName,
    ObservedOccurrence,
    Schedule,
)

log = structlog.get_logger(__name__)

LOOK_BACK, LOOK_AHEAD = timedelta(days=400), timedelta(days=31)
MAX_PAST, MAX_AHEAD = 400, 400
"""Maximum numbers of past and upcoming occurrences per event."""
_CORRECTION = timedelta(days=31)
"""An edit of a past event moves an occurrence that is this near; occurrences further apart are two."""
_NOT_SCHEDULED = Schedule("", None)


class EventTable(Protocol):
    """The part of storage.BusinessEvents that is written here."""

    async def schedules(self) -> Mapping[EventName, Schedule]:
        """Return the schedules of all events that were observed and not deleted."""
        ...

    async def names(self) -> set[EventName]:
        """Return the events that have a schedule or planned occurrences."""
        ...

    async def replace(self, name: EventName, history: EventHistory, changed: Sequence[BusinessEventRow]) -> None:
        """Replace the rows of an event by those of its schedule."""
        ...

    async def record_observed(self, observed: ObservedOccurrence) -> None:
        """Record what was observed during an occurrence; an unknown one is ignored."""
        ...

    async def cancel(self, name: EventName, seen_until: datetime | None) -> None:
        """Cancel the planned occurrences of a deleted event."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    """The last record of an event."""

    schedule: Schedule
    seen_at: datetime | None = None
    source: object = None
    """What the rows were computed from."""
    recorded: Mapping[datetime, BusinessEventRow] = field(default_factory=dict[datetime, BusinessEventRow])
    """By start."""
    next_end: datetime | None = None
    """End of the next planned row."""


@dataclass(slots=True)
class EventHistoryRecorder:
    """Writes changes since the last run; after a restart, changes since the previous process."""

    table: EventTable
    _known: dict[EventName, _Known] | None = None

    async def record(
        self,
        records: Sequence[EventRecord],
        matched: Mapping[str, tuple[PolicyKey, ...]],
        namespaces: Sequence[str],
        now: datetime,
    ) -> None:
        """Record all events; a failure of one affects no other.

        namespaces: the watched namespaces, empty for all; events of other namespaces are kept. Raises
        DatabaseUnavailableError.
        """
        if self._known is None:
            self._known = await self._recorded_before()
        recorded_events = self._known
        present = {EventName(record.namespace, record.name) for record in records}
        for name in [name for name in recorded_events if name not in present]:
            if not namespaces or name.namespace in namespaces:
                await self.table.cancel(name, recorded_events[name].seen_at)
                del recorded_events[name]
        for record in records:
            name = EventName(record.namespace, record.name)
            before = recorded_events.get(name)
            if record.event is None and before is None:
                continue
            try:
                recorded_events[name] = await self._bring_in_line(
                    name, record.event, before or _Known(_NOT_SCHEDULED), matched[record.uid], now
                )
            except PredictiveScalingError:
                raise
            except Exception:  # a failure of one event affects no other
                EVENTS_FAILED.inc()
                log.exception("event_not_recorded", event_name=f"{name.namespace}/{name.name}")

    async def _recorded_before(self) -> dict[EventName, _Known]:
        recorded_events = {name: _Known(schedule) for name, schedule in (await self.table.schedules()).items()}
        return {name: _Known(_NOT_SCHEDULED) for name in await self.table.names()} | recorded_events

    async def _bring_in_line(
        self,
        name: EventName,
        event: BusinessEvent | None,
        before: _Known,
        matched: tuple[PolicyKey, ...],
        now: datetime,
    ) -> _Known:
        schedule = _schedule(event, before.schedule, now)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        source = (event and (event.spec, event.metadata.creation_timestamp), matched, schedule, day)
        is_same = before.source == source
        if is_same and (before.next_end is None or now < before.next_end):
            return replace(before, seen_at=now)
        if is_same:
            rows = {start: _confirmed(row, now) for start, row in before.recorded.items()}
        elif event is None:
            rows = {}
        else:
            rows = {it.start: _row(event, it, matched, now) for it in _scheduled(event, schedule, day)}
        history = _history(event, schedule, list(rows.values()), day, is_edited=schedule != before.schedule)
        changed = [row for start, row in rows.items() if _differs(row, before.recorded.get(start))]
        await self.table.replace(name, history, changed)
        next_end = min((row.end_time for row in rows.values() if row.confirmed_at is None), default=None)
        return _Known(schedule, now, source, rows, next_end)


def _schedule(event: BusinessEvent | None, before: Schedule, now: datetime) -> Schedule:
    """An event that cannot be read keeps its schedule, and has no occurrences meanwhile."""
    if event is None:
        return before
    times = event.spec.model_dump_json(include={"start", "end", "recurrence"})
    fingerprint = hashlib.sha256(times.encode()).hexdigest()[:32]
    if before.fingerprint == fingerprint:
        return before
    return Schedule(fingerprint, None if before == _NOT_SCHEDULED else now)


def _scheduled(event: BusinessEvent, schedule: Schedule, day: datetime) -> list[Span]:
    """The occurrences around a day, oldest first. An edit does not change past occurrences of a recurring event."""
    past = latest_occurrences(event, day - LOOK_BACK, day, MAX_PAST)
    ahead = [occurrence for occurrence in occurrences(event, day, day + LOOK_AHEAD, MAX_AHEAD) if occurrence.end > day]
    since = schedule.since if event.spec.recurrence is not None else None
    return [it for it in (*past, *ahead) if since is None or it.end > since]


def _history(
    event: BusinessEvent | None, schedule: Schedule, rows: list[BusinessEventRow], day: datetime, *, is_edited: bool
) -> EventHistory:
    past = [row for row in rows if row.end_time <= day]
    is_over = event is not None and event.spec.recurrence is None and all(row.confirmed_at for row in rows)
    return EventHistory(
        schedule=schedule,
        covered_since=past[0].end_time if len(past) >= MAX_PAST else day - LOOK_BACK,
        starts=[row.start_time for row in rows],
        excluded=_excluded(event, schedule, day) if event is not None and event.spec.exclude_dates else (),
        corrects_within=_CORRECTION if is_edited and schedule.since is not None and is_over else None,
    )


def _excluded(event: BusinessEvent, schedule: Schedule, day: datetime) -> list[datetime]:
    everything = event.model_copy(update={"spec": event.spec.model_copy(update={"exclude_dates": ()})})
    left = {it.start for it in _scheduled(event, schedule, day)}
    return [it.start for it in _scheduled(everything, replace(schedule, since=None), day) if it.start not in left]


def _row(event: BusinessEvent, occurrence: Span, matched: tuple[PolicyKey, ...], now: datetime) -> BusinessEventRow:
    spec = event.spec
    row = BusinessEventRow(
        namespace=event.metadata.namespace,
        name=event.metadata.name,
        type=spec.type,
        start_time=occurrence.start,
        end_time=occurrence.end,
        multiplier=spec.expect.multiplier,
        min_replicas=spec.expect.min_replicas,
        priority=spec.priority,
        policies=tuple(key.name for key in matched),
        updated_at=now,
    )
    return _confirmed(row, now)


def _confirmed(row: BusinessEventRow, now: datetime) -> BusinessEventRow:
    is_over = row.confirmed_at is None and row.end_time <= now
    return replace(row, confirmed_at=now, updated_at=now) if is_over else row


def _differs(row: BusinessEventRow, recorded: BusinessEventRow | None) -> bool:
    if recorded is None or (recorded.confirmed_at is None) != (row.confirmed_at is None):
        return True
    return replace(recorded, updated_at=row.updated_at, confirmed_at=row.confirmed_at) != row
