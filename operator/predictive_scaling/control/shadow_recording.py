"""Minutes of a policy in mode Recommend, in memory until their hour is written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray
from predictive_scaling.simulation.shadow import MINUTE, UNOBSERVED, RecordedMinutes, ShadowComparison, compare
from predictive_scaling.storage.shadow_hours import ShadowHour, ShadowKey

HOUR = timedelta(hours=1)
_HOUR_MINUTES = HOUR // MINUTE
_MAX_HELD = 2
"""Maximum number of minutes without a decision between two decisions that count as observed: ticks may be slow."""
_MAX_PENDING_HOURS = 6
"""Maximum number of hours that wait for the database; the oldest are left out of the account."""

HourCounts = npt.NDArray[np.int32]
"""Shape (3, 60): replicas, ready replicas, and the replicas in mode Auto; UNOBSERVED where unknown."""


@dataclass(slots=True)
class ShadowRecording:
    """The hours of a policy and target that are not written yet, or may still change."""

    key: ShadowKey
    pending: dict[datetime, HourCounts] = field(default_factory=dict[datetime, HourCounts])
    """By the beginning of the hour."""
    _last: tuple[datetime, tuple[int, int, int]] | None = None
    """The newest observed minute, with its counts."""

    def observe(self, at: datetime, replicas: int, ready: int, auto_replicas: int) -> None:
        """Record the minute of `at`; a later observation of the same minute replaces an earlier one."""
        minute, counts = at.replace(second=0, microsecond=0), (replicas, ready, auto_replicas)
        if self._last is not None:
            before, held = self._last
            missed = (minute - before) // MINUTE - 1
            for index in range(missed if missed <= _MAX_HELD else 0):
                self._put(before + (index + 1) * MINUTE, held)
        self._put(minute, counts)
        self._last = (minute, counts)

    def has_minute(self, at: datetime) -> bool:
        """Return whether the newest observed minute is that of `at`."""
        return self._last is not None and self._last[0] <= at < self._last[0] + MINUTE

    def interrupt(self) -> None:
        """Record that the floor would not act now: the minutes until the next observation are unknown."""
        self._last = None

    def hour(
        self,
        since: datetime,
        stored: Mapping[datetime, ShadowHour],
        demand: FloatArray,
        per_replica: float,
        lead_time: timedelta,
    ) -> ShadowHour | None:
        """Return a pending hour with what was stored of it before; None while none of its minutes is covered.

        stored: hours of the same key, with those of one lead time before. demand: shape (60,), NaN where unknown.
        """
        earlier = history_hours(lead_time)
        counts = np.concatenate(
            [self._merged(since - index * HOUR, stored) for index in range(earlier, -1, -1)], axis=1
        )
        unknown = np.full(earlier * _HOUR_MINUTES, np.nan)
        minutes = RecordedMinutes(since - earlier * HOUR, np.concatenate((unknown, demand)), *counts)
        comparison = compare(minutes, per_replica, lead_time, earlier * _HOUR_MINUTES)
        if not comparison.covered.any():
            return None
        return self._row(since, counts[:, -_HOUR_MINUTES:], demand, per_replica, lead_time, comparison)

    def end_hours(self, before: datetime) -> None:
        """Drop the hours that began before: they are written."""
        for since in [since for since in self.pending if since < before]:
            del self.pending[since]

    def _put(self, minute: datetime, counts: tuple[int, int, int]) -> None:
        since = hour_of(minute)
        if since not in self.pending:
            self.pending[since] = np.full((3, _HOUR_MINUTES), UNOBSERVED, np.int32)
            while len(self.pending) > _MAX_PENDING_HOURS:
                del self.pending[min(self.pending)]
        self.pending[since][:, minute.minute] = counts

    def _merged(self, since: datetime, stored: Mapping[datetime, ShadowHour]) -> HourCounts:
        counts = self.pending.get(since)
        row = stored.get(since)
        if row is None:
            return np.full((3, _HOUR_MINUTES), UNOBSERVED, np.int32) if counts is None else counts
        known = np.array([_numbers(row.replicas), _numbers(row.ready), _numbers(row.auto_replicas)], np.int32)
        return known if counts is None else np.where(counts == UNOBSERVED, known, counts)

    def _row(
        self,
        since: datetime,
        counts: HourCounts,
        demand: FloatArray,
        per_replica: float,
        lead_time: timedelta,
        comparison: ShadowComparison,
    ) -> ShadowHour:
        replicas, ready, auto_replicas = counts
        actual, auto = comparison.actual, comparison.auto
        last = int(np.flatnonzero(comparison.covered)[-1])
        return ShadowHour(
            namespace=self.key.namespace,
            policy=self.key.policy,
            policy_uid=self.key.policy_uid,
            target=self.key.target,
            since=since,
            until=since + (last + 1) * MINUTE,
            per_replica=per_replica,
            lead_time_seconds=lead_time.total_seconds(),
            observed_minutes=int((replicas != UNOBSERVED).sum()),
            covered_minutes=int(comparison.covered.sum()),
            minutes_short=actual.minutes,
            auto_minutes_short=auto.minutes,
            replica_hours=actual.replica_hours,
            auto_replica_hours=auto.replica_hours,
            demand=[_single(value) if np.isfinite(value) else None for value in demand],
            replicas=_counts_or_none(replicas),
            ready=_counts_or_none(ready),
            auto_replicas=_counts_or_none(auto_replicas),
            auto_ready=_counts_or_none(comparison.auto_ready),
        )


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour of a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)


def history_hours(lead_time: timedelta) -> int:
    """Return the number of hours before an hour that say which replicas are ready in it."""
    return -(-lead_time // HOUR)


def _single(value: float) -> float:
    """Return the shortest number that is the value in single precision, as the table returns it."""
    return float(str(np.float32(value)))


def _counts_or_none(counts: HourCounts) -> list[int | None]:
    return [None if count == UNOBSERVED else count for count in counts.tolist()]


def _numbers(counts: Iterable[int | None]) -> list[int]:
    return [UNOBSERVED if count is None else count for count in counts]
