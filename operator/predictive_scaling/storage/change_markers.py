"""Markers of the rows that the web page shows: a row whose marker is new has changed since the last reading."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.policies import VERSION
from predictive_scaling.storage.scaling_decisions import UNFINISHED

_RECENT = timedelta(minutes=5)
_MAX_DECISIONS = 5000

# xmin is the transaction that wrote the row.
POLICIES = "select namespace, policy, xmin::text from policies"

# By index: the unfinished decisions, and those that began or ended recently.
DECISIONS = """
select namespace, policy, id || ' ' || xmin::text from (
    select namespace, policy, id, xmin from scaling_decisions where status = any(%(unfinished)s)
    union all
    (select namespace, policy, id, xmin from scaling_decisions where finished_at >= %(since)s
    order by finished_at desc limit %(limit)s)
    union all
    (select namespace, policy, id, xmin from scaling_decisions where created_at >= %(since)s
    order by created_at desc limit %(limit)s)) as recent
"""

EVENTS = """
select namespace, name, start_time::text || ' ' || xmin::text from business_events where end_time >= %(since)s
"""

Marker = tuple[str, str, str]
"""Namespace and name of the object, and its marker."""


@dataclass(frozen=True, slots=True)
class ChangeMarkers:
    """The markers of all policies, of unfinished and recent decisions, and of current and upcoming events."""

    policies_version: str = ""
    policies: frozenset[Marker] = frozenset()
    decisions: frozenset[Marker] = frozenset()
    events: frozenset[Marker] = frozenset()


class ChangeTable:
    """Reads the markers of three tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: datetime, known: ChangeMarkers) -> ChangeMarkers:
        """Return the markers; those of policies are read only if the table has changed since `known`."""
        values = {
            "unfinished": [phase.stored for phase in UNFINISHED],
            "since": now - _RECENT,
            "limit": _MAX_DECISIONS,
        }
        async with self._database.reading() as connection:
            version_row = await (await connection.execute(VERSION)).fetchone()
            version = str(version_row[0]) if version_row else ""
            policies = known.policies
            if version != known.policies_version:
                policies = frozenset(await (await connection.execute(POLICIES)).fetchall())
            decisions = frozenset(await (await connection.execute(DECISIONS, values)).fetchall())
            events = frozenset(await (await connection.execute(EVENTS, values)).fetchall())
        return ChangeMarkers(version, policies, decisions, events)
