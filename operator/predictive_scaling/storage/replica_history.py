"""Floor and replicas of each policy over time: a row for each change of one of the three numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from predictive_scaling.storage.database import Connection, Database

MAX_CHANGES = 5000
"""Maximum number of changes that are read at once; the newest ones."""

# Compares with the row of `policies` that the same transaction replaces afterwards.
RECORD = """
insert into replica_history (namespace, policy, at, floor, current_replicas, ready_replicas)
select changed.* from unnest(%(namespaces)s::text[], %(policies)s::text[], %(times)s::timestamptz[],
    %(floors)s::integer[], %(current)s::integer[], %(ready)s::integer[])
    as changed (namespace, policy, at, floor, current_replicas, ready_replicas)
left join policies as known using (namespace, policy)
where known.policy is null
    or (known.floor, known.current_replicas, known.ready_replicas)
        is distinct from (changed.floor, changed.current_replicas, changed.ready_replicas)
on conflict do nothing
"""

OF_POLICY = """
select at, floor, current_replicas, ready_replicas from replica_history
where namespace = %(namespace)s and policy = %(policy)s and at < %(until)s
    and at >= coalesce((
        select max(at) from replica_history
        where namespace = %(namespace)s and policy = %(policy)s and at <= %(since)s), %(since)s)
order by at desc
limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class ReplicaChange:
    """Floor and replicas from this time on. None: unknown."""

    at: datetime
    floor: int | None
    current_replicas: int | None
    ready_replicas: int | None


@dataclass(frozen=True, slots=True)
class PolicyReplicas:
    """Floor and replicas of a policy at a time."""

    namespace: str
    policy: str
    change: ReplicaChange


async def record_changes(connection: Connection, policies: Sequence[PolicyReplicas]) -> None:
    """Record the policies whose numbers differ from their row in `policies`; call it before the row is replaced."""
    changes = [policy.change for policy in policies]
    values = {
        "namespaces": [policy.namespace for policy in policies],
        "policies": [policy.policy for policy in policies],
        "times": [change.at for change in changes],
        "floors": [change.floor for change in changes],
        "current": [change.current_replicas for change in changes],
        "ready": [change.ready_replicas for change in changes],
    }
    await connection.execute(RECORD, values)


class ReplicaHistory:
    """The table `replica_history`; `Policies.record` writes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_policy(self, namespace: str, policy: str, since: datetime, until: datetime) -> list[ReplicaChange]:
        """Return the changes in [since, until) by time, and the last one before them if it is known."""
        values = {"namespace": namespace, "policy": policy, "since": since, "until": until, "limit": MAX_CHANGES}
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(ReplicaChange)) as rows,
        ):
            await rows.execute(OF_POLICY, values)
            return (await rows.fetchall())[::-1]
