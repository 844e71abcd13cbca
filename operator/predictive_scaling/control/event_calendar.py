"""Occurrences of BusinessEvents around now. Each event is expanded once a day and in isolation from the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zlib import crc32

import structlog
from prometheus_client import Counter

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.decision.events.active_occurrences import (
    LOOK_AHEAD,
    LOOK_BACK,
    KnownEvents,
    known_occurrences,
    upcoming_occurrences,
)
from predictive_scaling.decision.events.occurrences import Expansion, expand
from predictive_scaling.decision.events.windows import EventWindow
from predictive_scaling.decision.review import Problem, unexpected_problem
from predictive_scaling.resources.business_event import BusinessEvent

log = structlog.get_logger(__name__)

EVENTS_FAILED = Counter(
    "predictive_scaling_events_failed_total", "BusinessEvents whose occurrences or status could not be worked out."
)
_BATCH_SIZE = 50
"""Events that are looked at before other tasks have their turn."""
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AroundNow:
    """Events as decisions and forecasts need them now."""

    upcoming: tuple[EventWindow, ...]
    known: tuple[KnownEvents, ...]


@dataclass(slots=True)
class EventCalendar:
    """Expansions by uid, kept for a day. An event that fails is left out; `problem_of` returns the reason."""

    _expanded: dict[str, tuple[datetime, Expansion]] = field(default_factory=dict[str, tuple[datetime, Expansion]])
    _known: dict[str, KnownEvents] = field(default_factory=dict[str, KnownEvents])
    _problems: dict[str, Problem] = field(default_factory=dict[str, Problem])

    async def around(self, records: Sequence[EventRecord], now: datetime) -> AroundNow:
        """Expand new events and those expanded a day ago, and drop deleted ones. Yields to other tasks in between."""
        self._forget({record.uid for record in records})
        upcoming: list[EventWindow] = []
        known: list[KnownEvents] = []
        for position, record in enumerate(records, start=1):
            if position % _BATCH_SIZE == 0:
                await asyncio.sleep(0)
            if record.event is None:
                continue
            try:
                expansion = await self._expansion(record.uid, record.event, now)
                near = upcoming_occurrences(expansion, now)
                typed = known_occurrences(expansion, now, self._known.pop(record.uid, None))
            except Exception as error:  # a failure of one event affects no other
                self._expanded.pop(record.uid, None)
                self._leave_out(record, unexpected_problem(error), error)
                continue
            if expansion.problem is not None:
                self._leave_out(record, Problem("InvalidRecurrence", expansion.problem))
                continue
            self._problems.pop(record.uid, None)
            upcoming += near
            if typed is not None:
                self._known[record.uid] = typed
                known.append(typed)
        return AroundNow(tuple(upcoming), tuple(known))

    def expansion(self, uid: str) -> Expansion | None:
        """The occurrences around now; None for an event that was not expanded."""
        kept = self._expanded.get(uid)
        return kept[1] if kept else None

    def problem_of(self, uid: str) -> Problem | None:
        """Why an event was not expanded."""
        return self._problems.get(uid)

    async def _expansion(self, uid: str, event: BusinessEvent, now: datetime) -> Expansion:
        day = _day_of(uid, now)
        kept = self._expanded.get(uid)
        if kept is not None and kept[0] == day and _is_same(kept[1].event, event):
            if kept[1].event is not event:
                kept = day, replace(kept[1], event=event)
        else:
            self._expanded.pop(uid, None)
            kept = day, expand(event, day - LOOK_BACK, day + _DAY + LOOK_AHEAD)
            await asyncio.sleep(0)
        self._expanded[uid] = kept
        return kept[1]

    def _leave_out(self, record: EventRecord, problem: Problem, error: Exception | None = None) -> None:
        EVENTS_FAILED.inc()
        if self._problems.get(record.uid) != problem:
            name = f"{record.namespace}/{record.name}"
            log.warning("event_left_out", event_name=name, reason=problem.reason, error=problem.message, exc_info=error)
        self._problems[record.uid] = problem

    def _forget(self, uids: set[str]) -> None:
        for kept in (self._expanded, self._known, self._problems):
            for gone in kept.keys() - uids:
                del kept[gone]


def _day_of(uid: str, now: datetime) -> datetime:
    """The start of the day that an expansion is kept for.

    It is at another time for each event, so that not all are due at once.
    """
    shift = timedelta(seconds=crc32(uid.encode()) % 86_400)
    return now - (now - _EPOCH + shift) % _DAY


def _is_same(kept: BusinessEvent, event: BusinessEvent) -> bool:
    """Whether both take place at the same times and mean the same."""
    return kept is event or (
        kept.spec == event.spec and kept.metadata.creation_timestamp == event.metadata.creation_timestamp
    )
