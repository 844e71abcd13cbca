"""Keeps the account of what mode Auto would have done, for each policy in mode Recommend (status.shadow)."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.control.current_forecasts import series_key
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.recording import record_accepted
from predictive_scaling.control.shadow_recording import HOUR, ShadowRecording, history_hours, hour_of
from predictive_scaling.decision.context import positive
from predictive_scaling.decision.inputs import Situation
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.shadow_status import SHADOW_WINDOW, ShadowDifference, ShadowStatus
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.simulation.shadow import replicas_under_floor
from predictive_scaling.storage.shadow_hours import ShadowAccount, ShadowHour, ShadowKey

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=15)
"""Time between two accounts of a policy."""
_LATE = timedelta(minutes=10)
"""Time after its end for which an hour waits for late samples."""
_BATCH_SIZE = 200
"""Policies per statement."""
_YIELD_EVERY = 500
"""Policies that are observed without a pause for the event loop."""


class ShadowTable(Protocol):
    """The part of storage.ShadowHours that is used here."""

    async def record(self, rows: Sequence[ShadowHour]) -> None:
        """Insert or replace hours."""
        ...

    async def of_keys(self, keys: Sequence[ShadowKey], since: datetime) -> Sequence[ShadowHour]:
        """Return the hours of these policies and targets from `since` on."""
        ...

    async def accounts(self, keys: Sequence[ShadowKey], since: datetime) -> Sequence[ShadowAccount]:
        """Return the sums over the hours after `since`."""
        ...

    async def forget_others(self, kept: Collection[tuple[str, str, str]], namespaces: Sequence[str] | None) -> None:
        """Delete the hours of all policies except these (namespace, name, uid)."""
        ...


@dataclass(slots=True)
class ShadowAccounts:
    """Observes each minute what each policy recommends, and compares it with what happened.

    Observing only reads the newest decisions in memory. Comparing runs every EVERY, in batches: it adds the minutes to
    the hours in the table, so that a restart or another leader continues them.
    """

    table: ShadowTable
    window: DemandWindow
    states: PolicyStates
    cache: InformerCache
    clock: Clock
    namespaces: tuple[str, ...] = ()
    """What is watched; none means all."""
    _recordings: dict[PolicyKey, ShadowRecording] = field(default_factory=dict[PolicyKey, ShadowRecording])
    _policies: frozenset[tuple[str, str, str]] | None = None
    """Namespace, name and uid; None at the start: policies may have been deleted while no process ran."""

    async def observe(self) -> None:
        """Record the newest decision of every policy in mode Recommend."""
        for index, (key, state) in enumerate(self.states.by_key().items()):
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
            try:
                self._observe(key, state)
            except Exception:  # a policy that cannot be recorded affects no other
                log.exception("shadow_not_observed", policy=str(key))

    async def run(self) -> None:
        """Compare, write and sum up what was recorded. Raises DatabaseUnavailableError; the minutes are kept then."""
        await self._forget()
        now, states, recordings = self.clock.now(), self.states.by_key(), list(self._recordings.items())
        for first in range(0, len(recordings), _BATCH_SIZE):
            await self._compare(dict(recordings[first : first + _BATCH_SIZE]), states, now)

    def _observe(self, key: PolicyKey, state: PolicyState) -> None:
        situation, decision = state.situation, state.decision
        if situation is None or decision is None:
            return
        if situation.policy.spec.mode is not Mode.RECOMMEND:
            state.note_shadow(None)
            return
        recording = self._recordings.get(key)
        if recording is not None and recording.key.policy_uid == state.uid and recording.has_minute(situation.now):
            return
        subject = ShadowKey(key.namespace, key.name, state.uid, str(situation.policy.spec.target))
        if recording is None or recording.key != subject:
            if recording is not None:
                state.note_shadow(None)
            recording = self._recordings[key] = ShadowRecording(subject)
        if not _would_act(situation):
            recording.interrupt()
        else:
            observed = situation.observed
            auto = replicas_under_floor(
                observed.current_replicas, decision.floor, is_scaled_directly=observed.is_scaled_directly
            )
            recording.observe(situation.now, observed.current_replicas, observed.ready_replicas, auto)

    async def _compare(
        self, batch: dict[PolicyKey, ShadowRecording], states: dict[PolicyKey, PolicyState], now: datetime
    ) -> None:
        situations = {key: state.situation for key in batch if (state := states.get(key)) and state.situation}
        keys = [recording.key for recording in batch.values()]
        stored: dict[ShadowKey, dict[datetime, ShadowHour]] = {}
        for row in await self.table.of_keys(keys, _oldest(batch, situations, now)):
            stored.setdefault(row.key, {})[row.since] = row
        rows: list[ShadowHour] = []
        for key, situation in situations.items():
            try:
                rows += self._changed_hours(batch[key], situation, stored.get(batch[key].key, {}))
            except Exception:  # a policy that cannot be compared affects no other
                log.exception("shadow_not_compared", policy=str(key))
            await asyncio.sleep(0)
        await record_accepted(self.table.record, rows, "shadow_hours", _name)
        accounts = {account.key: account for account in await self.table.accounts(keys, now - SHADOW_WINDOW)}
        for key, recording in batch.items():
            recording.end_hours(hour_of(now - _LATE))
            state = states.get(key)
            if state is not None and key in situations and self._recordings.get(key) is recording:
                self._note(key, state, situations[key], accounts.get(recording.key))
            elif state is None and not recording.pending:
                self._recordings.pop(key, None)  # it is Off, or its target does not exist

    def _changed_hours(
        self, recording: ShadowRecording, situation: Situation, stored: dict[datetime, ShadowHour]
    ) -> list[ShadowHour]:
        per_replica, policy = positive(situation.per_replica), situation.policy
        if per_replica is None:
            return []
        rows: list[ShadowHour] = []
        for since in sorted(recording.pending):
            demand = self.window.minutes(series_key(policy), since, since + HOUR)
            valid = demand >= 0 if policy.spec.demand.zero_is_valid else demand > 0
            row = recording.hour(since, stored, np.where(valid, demand, np.nan), per_replica, situation.lead_time)
            if row is not None and row != stored.get(since):
                rows.append(row)
                stored[since] = row
        return rows

    def _note(self, key: PolicyKey, state: PolicyState, situation: Situation, account: ShadowAccount | None) -> None:
        if situation.policy.spec.mode is Mode.RECOMMEND:
            state.note_shadow(account and shadow_status(account))
        elif not self._recordings[key].pending:
            del self._recordings[key]

    async def _forget(self) -> None:
        if not self.cache.is_complete:
            return
        policies = frozenset((record.key.namespace, record.key.name, record.uid) for record in self.cache.policies())
        if self._policies is None or self._policies - policies:
            await self.table.forget_others(policies, self.namespaces or None)
        self._policies = policies
        for key, recording in list(self._recordings.items()):
            if (key.namespace, key.name, recording.key.policy_uid) not in policies:
                del self._recordings[key]


def _would_act(situation: Situation) -> bool:
    """Whether the floor would have acted in mode Auto: nobody else holds the target, and no person stopped it."""
    observed = situation.observed
    is_stopped = observed.scaled_to_zero or (observed.pause is not None and observed.pause.direction is None)
    return situation.conflict is None and not is_stopped


def _oldest(batch: dict[PolicyKey, ShadowRecording], situations: dict[PolicyKey, Situation], now: datetime) -> datetime:
    """Return the beginning of the first hour that comparing the batch needs."""
    firsts = [
        min(batch[key].pending, default=hour_of(now)) - history_hours(situation.lead_time) * HOUR
        for key, situation in situations.items()
    ]
    return min(firsts, default=hour_of(now))


def shadow_status(account: ShadowAccount) -> ShadowStatus:
    """Return an account as the status shows it."""
    return ShadowStatus(
        since=account.since,
        until=account.until,
        covered_hours=round(account.covered_minutes / 60, 1),
        decisions=account.decisions,
        minutes_short=round(account.minutes_short, 1),
        minutes_short_avoided=round(account.minutes_short - account.auto_minutes_short, 1),
        replica_hours=round(account.replica_hours, 1),
        replica_hours_added=round(account.auto_replica_hours - account.replica_hours, 1),
        largest=tuple(
            ShadowDifference(
                time=difference.since,
                minutes_short_avoided=round(difference.minutes_short_avoided, 1),
                replica_hours_added=round(difference.replica_hours_added, 1),
            )
            for difference in account.largest
        ),
    )


def _name(row: ShadowHour) -> str:
    return f"{row.namespace}/{row.policy} at {row.since:%Y-%m-%d %H:%M}"
