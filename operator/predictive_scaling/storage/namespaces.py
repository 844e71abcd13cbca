"""The namespaces that have records of any kind, and the services whose records they may read."""

from typing import Any

from predictive_scaling.storage.database import Database

# Each branch jumps from one namespace to the next in an index: its cost grows with the namespaces, not with the rows.
NAMESPACES = """
with recursive
of_policies(namespace) as (
    select min(namespace) from policies
    union all
    select (select min(namespace) from policies where namespace > of_policies.namespace)
    from of_policies where namespace is not null),
of_decisions(namespace) as (
    select min(namespace) from scaling_decisions
    union all
    select (select min(namespace) from scaling_decisions where namespace > of_decisions.namespace)
    from of_decisions where namespace is not null),
of_events(namespace) as (
    select min(namespace) from business_events
    union all
    select (select min(namespace) from business_events where namespace > of_events.namespace)
    from of_events where namespace is not null),
of_backtests(namespace) as (
    select min(namespace) from backtests
    union all
    select (select min(namespace) from backtests where namespace > of_backtests.namespace)
    from of_backtests where namespace is not null)
select namespace from (
    select namespace from of_policies
    union select namespace from of_decisions
    union select namespace from of_events
    union select namespace from of_backtests) as named
where namespace is not null
order by namespace
"""


ReadableServices = list[tuple[str, str]] | None
"""Namespaces, or `*` for all of them, each with a LIKE pattern of services; None where services are not restricted."""

READABLE = """(%(readers)s::text[] is null or exists (
    select from unnest(%(readers)s::text[], %(readable)s::text[]) as allowed (reader, pattern)
    where allowed.reader in (namespace, '*') and service_name like allowed.pattern))"""
"""Condition that the namespace of a row may read the row's service; its values are `readable_values`."""


def readable_values(readable: ReadableServices) -> dict[str, Any]:
    """Return the values of the condition READABLE."""
    if readable is None:
        return {"readers": None, "readable": None}
    return {"readers": [reader for reader, _ in readable], "readable": [pattern for _, pattern in readable]}


class Namespaces:
    """The namespaces of policies, decisions, business events and backtests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[str]:
        """Return the names in order."""
        async with self._database.reading() as connection:
            rows = await (await connection.execute(NAMESPACES)).fetchall()
        return [namespace for (namespace,) in rows]
