"""The newest tuning result of each policy: its frontier, the quantile in use, and the recommendation."""

# ruff: noqa: S608 (only constants of this file are put together; pyright demands a LiteralString)

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class TuningRow:
    """The tuning result of a policy.

    tuned_at: time of the tuning run over [since, until). under_provisioned_minute, replica_hour: the policy's prices;
    None if it sets a quantile. moved_at, rising, turns: the state of the tuner (see tuner.TunerState).
    hpa_target, advised_target: fractions. saved: share of replica-hours. hours_saved: replica-hours. recorded_share:
    share of the forecasts that were recorded live. alone, points: quantile, target, under-provisioned share, lost
    share, minutes and replica-hours, of the HPA without a floor and of each setting.
    """

    namespace: str
    policy: str
    tuned_at: datetime
    since: datetime
    until: datetime
    under_provisioned_minute: float | None
    replica_hour: float | None
    quantile: float
    moved_at: datetime | None
    rising: bool | None
    turns: int
    hpa_target: float
    advised_target: float
    saved: float
    hours_saved: float
    message: str
    recorded_share: float
    alone: Sequence[float]
    points: Sequence[Sequence[float]]


_COLUMNS = """namespace, policy, tuned_at, since, until, under_provisioned_minute, replica_hour, quantile, moved_at,
    rising, turns, hpa_target, advised_target, saved, hours_saved, message, recorded_share, alone, points"""

RECORD = f"""
insert into tunings ({_COLUMNS})
values (%(namespace)s, %(policy)s, %(tuned_at)s, %(since)s, %(until)s, %(under_provisioned_minute)s, %(replica_hour)s,
    %(quantile)s, %(moved_at)s, %(rising)s, %(turns)s, %(hpa_target)s, %(advised_target)s, %(saved)s, %(hours_saved)s,
    %(message)s, %(recorded_share)s, %(alone)s, %(points)s)
on conflict (namespace, policy) do update
set tuned_at = excluded.tuned_at, since = excluded.since, until = excluded.until,
    under_provisioned_minute = excluded.under_provisioned_minute, replica_hour = excluded.replica_hour,
    quantile = excluded.quantile, moved_at = excluded.moved_at, rising = excluded.rising, turns = excluded.turns,
    hpa_target = excluded.hpa_target, advised_target = excluded.advised_target, saved = excluded.saved,
    hours_saved = excluded.hours_saved, message = excluded.message, recorded_share = excluded.recorded_share,
    alone = excluded.alone, points = excluded.points
"""

ALL = f"select {_COLUMNS} from tunings order by namespace, policy"
OF = f"select {_COLUMNS} from tunings where namespace = %(namespace)s and policy = %(policy)s"
FORGET = """
delete from tunings
where (namespace, policy) in (select * from unnest(%(namespaces)s::text[], %(policies)s::text[]))
"""


class Tunings:
    """The table `tunings`: one row for each policy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[TuningRow]) -> None:
        """Replace the results of these policies."""
        values = [
            asdict(row) | {"alone": list(row.alone), "points": [list(point) for point in row.points]} for row in rows
        ]
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, values)

    async def all(self) -> list[TuningRow]:
        """Return the results of all policies, by namespace and name."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(TuningRow)) as cursor,
        ):
            await cursor.execute(ALL)
            return await cursor.fetchall()

    async def of(self, namespace: str, policy: str) -> TuningRow | None:
        """Return the result of a policy; None without a tuning run."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(TuningRow)) as cursor,
        ):
            await cursor.execute(OF, {"namespace": namespace, "policy": policy})
            return await cursor.fetchone()

    async def forget(self, policies: Sequence[tuple[str, str]]) -> None:
        """Delete the results of these policies (namespace, name)."""
        values = {
            "namespaces": [namespace for namespace, _ in policies],
            "policies": [policy for _, policy in policies],
        }
        async with self._database.connection() as connection:
            await connection.execute(FORGET, values)
