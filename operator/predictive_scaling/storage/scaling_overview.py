"""The numbers of the scaling status, in one statement."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import args_row

from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.database import Database

# Each write has its own transaction id, so any change of the table changes the sum or the count.
OVERVIEW = """
select count(*) || '-' || coalesce(sum(policies.xmin::text::bigint), 0),
    count(*) filter (where shown),
    count(*) filter (where shown and mode = 'Auto'),
    count(*) filter (where shown and limited),
    count(*) filter (where shown and source = 'Fallback'),
    (select count(*) from scaling_decisions
     where status = any(%(unfinished)s) and deadline_at < %(now)s
        and (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s)))
from policies cross join lateral (
    select %(namespaces)s::text[] is null or namespace = any(%(namespaces)s) as shown) as visibility
"""

_UNFINISHED = [phase.stored for phase in DecisionPhase if not phase.is_final]


@dataclass(frozen=True, slots=True)
class ScalingOverview:
    """Numbers of policies and of stuck decisions in some namespaces."""

    version: str
    """Differs after each change of any policy."""
    policies: int
    auto: int
    limited: int
    fallback: int
    stuck_decisions: int


class ScalingOverviews:
    """Counts of the tables `policies` and `scaling_decisions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, now: datetime, namespaces: list[str] | None = None) -> ScalingOverview:
        """Return the overview at a time. namespaces: None for all."""
        values = {"now": now, "namespaces": namespaces, "unfinished": _UNFINISHED}
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=args_row(ScalingOverview)) as rows,
        ):
            await rows.execute(OVERVIEW, values)
            return await rows.fetchone() or ScalingOverview("", 0, 0, 0, 0, 0)
