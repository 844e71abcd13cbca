"""What mode Auto would have done against what happened: one row for each policy in mode Recommend and each hour."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg.rows import TupleRow, kwargs_row

from predictive_scaling.resources.shadow_status import MAX_SHADOW_DIFFERENCES
from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class ShadowKey:
    """A policy and its target. A re-created policy or another target begins a new account.

    target: kind and name, such as hpa/checkout.
    """

    namespace: str
    policy: str
    policy_uid: str
    target: str


@dataclass(frozen=True, slots=True)
class ShadowHour:
    """An hour of a policy. since: the full hour. until: the end of its last covered minute.

    per_replica, lead_time_seconds: as known at the last covered minute. observed_minutes: minutes with known replicas.
    covered_minutes: those among them whose demand is known; the sums are over these. demand, replicas, ready,
    auto_replicas, auto_ready: 60 minutes, None where unknown; auto: in mode Auto.
    """

    namespace: str
    policy: str
    policy_uid: str
    target: str
    since: datetime
    until: datetime
    per_replica: float
    lead_time_seconds: float
    observed_minutes: int
    covered_minutes: int
    minutes_short: float
    auto_minutes_short: float
    replica_hours: float
    auto_replica_hours: float
    demand: list[float | None]
    replicas: list[int | None]
    ready: list[int | None]
    auto_replicas: list[int | None]
    auto_ready: list[int | None]

    @property
    def key(self) -> ShadowKey:
        """The policy and target of the hour."""
        return ShadowKey(self.namespace, self.policy, self.policy_uid, self.target)


@dataclass(frozen=True, slots=True)
class HourDifference:
    """An hour in which Auto would have differed. Both numbers may be negative."""

    since: datetime
    minutes_short_avoided: float
    replica_hours_added: float


@dataclass(frozen=True, slots=True)
class ShadowAccount:
    """The sums of a policy's hours. decisions: recommended ones. largest: the largest differences, largest first."""

    key: ShadowKey
    since: datetime
    until: datetime
    covered_minutes: int
    minutes_short: float
    auto_minutes_short: float
    replica_hours: float
    auto_replica_hours: float
    decisions: int
    largest: tuple[HourDifference, ...]


_COLUMNS = """namespace, policy, policy_uid, target, since, until, per_replica, lead_time_seconds, observed_minutes,
    covered_minutes, minutes_short, auto_minutes_short, replica_hours, auto_replica_hours, minutes"""
_KEYS = """unnest(%(namespaces)s::text[], %(policies)s::text[], %(uids)s::text[], %(targets)s::text[])
    as key (namespace, policy, policy_uid, target)"""

# A process that lost the leadership without noticing has observed fewer minutes of the same hour: it replaces nothing.
RECORD = f"""
insert into shadow_hours ({_COLUMNS})
values (%(namespace)s, %(policy)s, %(policy_uid)s, %(target)s, %(since)s, %(until)s, %(per_replica)s,
    %(lead_time_seconds)s, %(observed_minutes)s, %(covered_minutes)s, %(minutes_short)s, %(auto_minutes_short)s,
    %(replica_hours)s, %(auto_replica_hours)s, %(minutes)s)
on conflict (namespace, policy, since) do update
set policy_uid = excluded.policy_uid, target = excluded.target, until = excluded.until,
    per_replica = excluded.per_replica, lead_time_seconds = excluded.lead_time_seconds,
    observed_minutes = excluded.observed_minutes, covered_minutes = excluded.covered_minutes,
    minutes_short = excluded.minutes_short, auto_minutes_short = excluded.auto_minutes_short,
    replica_hours = excluded.replica_hours, auto_replica_hours = excluded.auto_replica_hours,
    minutes = excluded.minutes
where excluded.observed_minutes >= shadow_hours.observed_minutes
    or (excluded.policy_uid, excluded.target) <> (shadow_hours.policy_uid, shadow_hours.target)
"""

OF_KEYS = f"""
select {_COLUMNS} from shadow_hours join {_KEYS} using (namespace, policy, policy_uid, target)
where since >= %(since)s
order by namespace, policy, since
"""

OF_POLICY = f"""
select {_COLUMNS} from shadow_hours
where namespace = %(namespace)s and policy = %(policy)s and since > %(since)s
order by since
"""

ACCOUNTS = f"""
with hours as (
    select namespace, policy, policy_uid, target, since, until, covered_minutes, minutes_short, auto_minutes_short,
        replica_hours, auto_replica_hours, minutes_short - auto_minutes_short as avoided,
        auto_replica_hours - replica_hours as added
    from shadow_hours join {_KEYS} using (namespace, policy, policy_uid, target)
    where since > %(since)s),
ranked as (
    select *, row_number() over (
        partition by namespace, policy
        order by abs(avoided) desc, round(abs(added)::numeric, 3) desc, since desc) as place
    from hours)
select namespace, policy, policy_uid, target, min(since), max(until), sum(covered_minutes)::integer,
    sum(minutes_short), sum(auto_minutes_short), sum(replica_hours), sum(auto_replica_hours),
    (select count(*) from scaling_decisions decision
     where decision.namespace = ranked.namespace and decision.policy = ranked.policy
        and decision.policy_uid = ranked.policy_uid and decision.status = 'recommended'
        and decision.created_at >= min(ranked.since) and decision.created_at < max(ranked.until)),
    array_agg(since order by place) filter (where place <= %(differences)s and (avoided <> 0 or added <> 0)),
    array_agg(avoided order by place) filter (where place <= %(differences)s and (avoided <> 0 or added <> 0)),
    array_agg(added order by place) filter (where place <= %(differences)s and (avoided <> 0 or added <> 0))
from ranked
group by namespace, policy, policy_uid, target
"""

FORGET_OTHERS = """
delete from shadow_hours
where (%(watched)s::text[] is null or namespace = any(%(watched)s))
    and (namespace, policy, policy_uid) not in (
        select * from unnest(%(namespaces)s::text[], %(policies)s::text[], %(uids)s::text[]))
"""


class ShadowHours:
    """The table `shadow_hours`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[ShadowHour]) -> None:
        """Insert hours, or replace those of which no more minutes were observed."""
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, [asdict(row) | {"minutes": _packed(row)} for row in rows])

    async def of_keys(self, keys: Sequence[ShadowKey], since: datetime) -> list[ShadowHour]:
        """Return the hours of these policies and targets that begin at `since` or later, in order."""
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=kwargs_row(_hour)) as cursor,
        ):
            await cursor.execute(OF_KEYS, {**_columns_of(keys), "since": since})
            return await cursor.fetchall()

    async def of_policy(self, namespace: str, policy: str, since: datetime) -> list[ShadowHour]:
        """Return the hours after `since` of a policy's newest account, in order."""
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=kwargs_row(_hour)) as cursor,
        ):
            await cursor.execute(OF_POLICY, {"namespace": namespace, "policy": policy, "since": since})
            rows = await cursor.fetchall()
        return [row for row in rows if row.key == rows[-1].key]

    async def accounts(self, keys: Sequence[ShadowKey], since: datetime) -> list[ShadowAccount]:
        """Return the sums over the hours after `since`, of those policies that have any."""
        values = {**_columns_of(keys), "since": since, "differences": MAX_SHADOW_DIFFERENCES}
        async with self._database.reading() as connection:
            rows = await (await connection.execute(ACCOUNTS, values)).fetchall()
        return [_account(row) for row in rows]

    async def forget_others(self, kept: Collection[tuple[str, str, str]], namespaces: Sequence[str] | None) -> None:
        """Delete the hours of all policies except these (namespace, name, uid), in the watched namespaces.

        namespaces: None for all.
        """
        values = {
            "watched": list(namespaces) if namespaces is not None else None,
            "namespaces": [namespace for namespace, _, _ in kept],
            "policies": [policy for _, policy, _ in kept],
            "uids": [uid for _, _, uid in kept],
        }
        async with self._database.connection() as connection:
            await connection.execute(FORGET_OTHERS, values)


def _columns_of(keys: Sequence[ShadowKey]) -> dict[str, list[str]]:
    return {
        "namespaces": [key.namespace for key in keys],
        "policies": [key.policy for key in keys],
        "uids": [key.policy_uid for key in keys],
        "targets": [key.target for key in keys],
    }


_UNKNOWN = -1
_COUNTS = ("replicas", "ready", "auto_replicas", "auto_ready")


def _packed(row: ShadowHour) -> bytes:
    demand = np.array(row.demand, "<f4")
    counts = np.array([_numbers(getattr(row, name)) for name in _COUNTS], "<i4")
    return zlib.compress(demand.tobytes() + counts.tobytes())


def _hour(*, minutes: bytes, **columns: Any) -> ShadowHour:
    """Return a row of the table with its minutes. Demand is the shortest number of its single precision."""
    values = np.frombuffer(zlib.decompress(minutes), "<f4")
    size = len(values) // (1 + len(_COUNTS))
    demand = [None if np.isnan(value) else float(str(value)) for value in values[:size]]
    counts: npt.NDArray[np.int32] = values[size:].view("<i4").reshape(len(_COUNTS), size)
    return ShadowHour(**columns, demand=demand, **dict(zip(_COUNTS, map(_counts_or_none, counts), strict=True)))


def _numbers(counts: Iterable[int | None]) -> list[int]:
    return [_UNKNOWN if count is None else count for count in counts]


def _counts_or_none(counts: npt.NDArray[np.int32]) -> list[int | None]:
    return [None if count == _UNKNOWN else count for count in counts.tolist()]


def _account(row: TupleRow) -> ShadowAccount:
    hours = zip(row[12] or (), row[13] or (), row[14] or (), strict=True)
    largest = tuple(HourDifference(*values) for values in hours)
    return ShadowAccount(ShadowKey(*row[:4]), *row[4:12], largest=largest)
