"""What is forgotten, and when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from predictive_scaling.storage.database import Database

log = structlog.get_logger(__name__)

# The time is ours, not the server's: a replay of 1998 must not lose its data to the year it runs in.
DROP = "select drop_chunks(%(relation)s::regclass, %(before)s::timestamptz)"

DELETE = (
    "delete from predictions where created_at < %(raw)s",
    "delete from dead_letters where received_at < %(raw)s",
    "delete from ingest_history where minute < %(raw)s",
    "delete from commands where created_at < %(raw)s",
    "delete from model_performance where created_at < %(rollups)s",
    "delete from scaling_decisions where created_at < %(rollups)s",
    "delete from business_events where end_time < %(rollups)s",
    "delete from series where last_day < %(rollups)s::date",
)


@dataclass(frozen=True, slots=True)
class Retention:
    """raw: how long samples, predictions and dead letters are kept. rollups: how long rollups and what happened are."""

    database: Database
    raw: timedelta
    rollups: timedelta

    async def apply(self, now: datetime) -> list[str]:
        """Forget what is older; the names of the dropped chunks. Each statement stands alone: the next run goes on."""
        before = {"raw": now - self.raw, "rollups": now - self.rollups}
        dropped: list[str] = []
        for relation, moment in (("metrics_raw", before["raw"]), ("metrics_1m", before["rollups"])):
            async with self.database.connection() as connection:
                rows = await (await connection.execute(DROP, {"relation": relation, "before": moment})).fetchall()
                dropped += [str(chunk) for (chunk,) in rows]
        for statement in DELETE:
            async with self.database.connection() as connection:
                await connection.execute(statement, before)
        if dropped:
            log.info("chunks_dropped", chunks=dropped)
        return dropped
