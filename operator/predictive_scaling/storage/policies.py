"""A copy of the policies' status, so that the HTTP API works without the cluster."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.replica_history import PolicyReplicas, ReplicaChange, record_changes


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """The status of a policy. None: unknown."""

    namespace: str
    policy: str
    service_name: str | None
    """None, as the fields up to max_replicas, when the policy is invalid."""
    metric_name: str | None
    aggregation: str | None
    """Sum, Mean or Max."""
    mode: str | None
    target: str | None
    min_replicas: int | None
    max_replicas: int | None
    floor: int | None
    current_replicas: int | None
    ready_replicas: int | None
    source: str | None
    limited: bool
    conditions: list[dict[str, Any]]
    """As in the status: type, status, reason, message, observedGeneration, lastTransitionTime."""
    last_decision_at: datetime | None
    advice: dict[str, Any] | None
    forecast: dict[str, Any] | None
    """As in the status: model, version, generatedAt, validUntil, points."""
    updated_at: datetime
    timezone: str | None = None
    """spec.forecast.timezone; None for UTC."""
    holidays: str | None = None
    """spec.forecast.holidays; None for none."""
    learned: dict[str, Any] | None = None
    """As in the status: leadTime, perReplica."""
    shadow: dict[str, Any] | None = None
    """As in the status; None outside of mode Recommend."""


RECORD = """
insert into policies (namespace, policy, service_name, metric_name, aggregation, mode, target, min_replicas,
    max_replicas, floor, current_replicas, ready_replicas, source, limited, conditions, last_decision_at, advice,
    forecast, updated_at, timezone, holidays, learned, shadow)
values (%(namespace)s, %(policy)s, %(service_name)s, %(metric_name)s, %(aggregation)s, %(mode)s, %(target)s,
    %(min_replicas)s, %(max_replicas)s, %(floor)s, %(current_replicas)s, %(ready_replicas)s, %(source)s, %(limited)s,
    %(conditions)s, %(last_decision_at)s, %(advice)s, %(forecast)s, %(updated_at)s, %(timezone)s,
    %(holidays)s, %(learned)s, %(shadow)s)
on conflict (namespace, policy) do update
set service_name = excluded.service_name, metric_name = excluded.metric_name,
    aggregation = excluded.aggregation, mode = excluded.mode,
    target = excluded.target, min_replicas = excluded.min_replicas, max_replicas = excluded.max_replicas,
    floor = excluded.floor, current_replicas = excluded.current_replicas, ready_replicas = excluded.ready_replicas,
    source = excluded.source, limited = excluded.limited, conditions = excluded.conditions,
    last_decision_at = excluded.last_decision_at, advice = excluded.advice, forecast = excluded.forecast,
    updated_at = excluded.updated_at, timezone = excluded.timezone, holidays = excluded.holidays,
    learned = excluded.learned, shadow = excluded.shadow
"""

FORGET_OTHERS = """
delete from policies
where (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
    and (namespace, policy) not in (select * from unnest(%(kept_namespaces)s::text[], %(kept_policies)s::text[]))
"""

ALL = """
select namespace, policy, service_name, metric_name, aggregation, mode, target, min_replicas, max_replicas, floor,
    current_replicas, ready_replicas, source, limited, conditions, last_decision_at, advice, forecast, updated_at,
    timezone, holidays, learned, shadow
from policies
where %(service)s::text is null or service_name = %(service)s
order by namespace, policy
"""


PAGE = """
select namespace, policy, service_name, metric_name, aggregation, mode, target, min_replicas, max_replicas, floor,
    current_replicas, ready_replicas, source, limited, conditions, last_decision_at, advice,
    case when %(with_forecast)s then forecast end as forecast, updated_at, timezone, holidays, learned, shadow
from policies
where (%(service)s::text is null or service_name = %(service)s)
    and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
    and (%(mode)s::text is null or mode = %(mode)s)
    and (%(source)s::text is null or source = %(source)s)
    and (%(limited)s::boolean is null or limited = %(limited)s)
    and (%(search)s::text is null
        or strpos(lower(namespace || '/' || policy || ' ' || coalesce(service_name, '')), lower(%(search)s)) > 0)
    and (%(namespace)s::text is null or (namespace, policy) > (%(namespace)s, %(policy)s))
order by namespace, policy
limit %(limit)s
"""

ONE = """
select namespace, policy, service_name, metric_name, aggregation, mode, target, min_replicas, max_replicas, floor,
    current_replicas, ready_replicas, source, limited, conditions, last_decision_at, advice, forecast, updated_at,
    timezone, holidays, learned, shadow
from policies
where namespace = %(namespace)s and policy = %(policy)s
"""

NAMES = """
select namespace, policy, service_name, mode, source, limited from policies order by namespace, policy
"""

BY_NAME = """
select namespace, policy, service_name, metric_name, aggregation, mode, target, min_replicas, max_replicas, floor,
    current_replicas, ready_replicas, source, limited, conditions, last_decision_at, advice, null as forecast,
    updated_at, timezone, holidays, learned, shadow
from policies
where (namespace, policy) in (select * from unnest(%(namespaces)s::text[], %(policies)s::text[]))
"""

SERVICES = """
select distinct service_name from policies where service_name is not null and namespace = any(%(namespaces)s)
"""

# Each write has its own transaction id, so any change of the table changes the sum or the count.
VERSION = "select count(*) || '-' || coalesce(sum(xmin::text::bigint), 0) from policies"


@dataclass(frozen=True, slots=True)
class PolicySelection:
    """Which policies a list shows. None: any."""

    mode: str | None = None
    source: str | None = None
    limited: bool | None = None
    search: str | None = None
    """Part of `namespace/name`, or of the name of the service, in any case."""


ANY_POLICY = PolicySelection()


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """A page of policies, by namespace and name. next_cursor: cursor of the next page; None on the last page."""

    policies: list[PolicyRow]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class PolicyName:
    """A policy with what lists of policies are filtered by. text: what a search looks through, in lower case."""

    namespace: str
    policy: str
    text: str
    mode: str | None
    source: str | None
    limited: bool

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.policy

    def matches(self, selection: PolicySelection) -> bool:
        """Whether a selection contains the policy, apart from its search."""
        return (
            (selection.mode is None or selection.mode == self.mode)
            and (selection.source is None or selection.source == self.source)
            and (selection.limited is None or selection.limited == self.limited)
        )


class Policies:
    """The table `policies`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, rows: Sequence[PolicyRow]) -> None:
        """Upsert the rows of changed policies, and record changes of their floor and replicas."""
        values = [
            asdict(row)
            | {
                "conditions": Jsonb(row.conditions),
                "advice": None if row.advice is None else Jsonb(row.advice),
                "forecast": None if row.forecast is None else Jsonb(row.forecast),
                "learned": None if row.learned is None else Jsonb(row.learned),
                "shadow": None if row.shadow is None else Jsonb(row.shadow),
            }
            for row in rows
        ]
        replicas = [PolicyReplicas(row.namespace, row.policy, _replicas(row)) for row in rows]
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await record_changes(connection, replicas)
            await cursor.executemany(RECORD, values)

    async def forget_others(self, kept: Sequence[tuple[str, str]], namespaces: Sequence[str] | None = None) -> int:
        """Delete all policies except these (namespace, name), optionally in `namespaces` only; return their number."""
        values = {
            "namespaces": None if namespaces is None else list(namespaces),
            "kept_namespaces": [namespace for namespace, _ in kept],
            "kept_policies": [policy for _, policy in kept],
        }
        async with self._database.connection() as connection:
            return (await connection.execute(FORGET_OTHERS, values)).rowcount

    async def all(self, service: str | None = None) -> list[PolicyRow]:
        """Return all policies, optionally of one service, by namespace and name."""
        async with (
            self._database.connection() as connection,
            connection.cursor(row_factory=class_row(PolicyRow)) as cursor,
        ):
            await cursor.execute(ALL, {"service": service})
            return await cursor.fetchall()

    async def page(
        self,
        limit: int,
        *,
        service: str | None = None,
        namespaces: list[str] | None = None,
        selection: PolicySelection = ANY_POLICY,
        cursor: str | None = None,
        with_forecast: bool = True,
    ) -> PolicyPage:
        """Return a page of the policies, optionally of one service or of some namespaces. Raises InvalidCursorError."""
        namespace, policy = decode_cursor(cursor, str, str) if cursor else (None, None)
        values = {
            **asdict(selection),
            "service": service,
            "namespaces": namespaces,
            "namespace": namespace,
            "policy": policy,
            "limit": limit + 1,
        }
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(PolicyRow)) as rows,
        ):
            await rows.execute(PAGE, {**values, "with_forecast": with_forecast})
            fetched = await rows.fetchall()
        shown = fetched[:limit]
        more = len(fetched) > limit
        return PolicyPage(shown, encode_cursor(shown[-1].namespace, shown[-1].policy) if more else None)

    async def of(self, namespace: str, policy: str) -> PolicyRow | None:
        """Return a policy; None if it is not known."""
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(PolicyRow)) as rows,
        ):
            await rows.execute(ONE, {"namespace": namespace, "policy": policy})
            return await rows.fetchone()

    async def names(self) -> list[PolicyName]:
        """Return all policies, by namespace and name as `page` does."""
        async with self._database.reading() as connection:
            rows = await (await connection.execute(NAMES)).fetchall()
        return [
            PolicyName(namespace, policy, f"{namespace}/{policy} {service or ''}".lower(), mode, source, limited)
            for namespace, policy, service, mode, source, limited in rows
        ]

    async def by_name(self, keys: Sequence[tuple[str, str]]) -> list[PolicyRow]:
        """Return those of these policies (namespace, name) that exist, without their forecast."""
        values = {"namespaces": [namespace for namespace, _ in keys], "policies": [policy for _, policy in keys]}
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(PolicyRow)) as rows,
        ):
            await rows.execute(BY_NAME, values)
            return await rows.fetchall()

    async def services(self, namespaces: list[str]) -> set[str]:
        """Return the services that the policies of these namespaces name."""
        async with self._database.reading() as connection:
            rows = await (await connection.execute(SERVICES, {"namespaces": namespaces})).fetchall()
        return {service for (service,) in rows}

    async def version(self) -> str:
        """Return a version that differs after each change of the table."""
        async with self._database.reading() as connection:
            row = await (await connection.execute(VERSION)).fetchone()
            return str(row[0]) if row else ""


def _replicas(row: PolicyRow) -> ReplicaChange:
    return ReplicaChange(row.updated_at, row.floor, row.current_replicas, row.ready_replicas)
