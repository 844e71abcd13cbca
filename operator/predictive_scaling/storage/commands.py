"""What the API asks the operator to do, and the answer. LISTEN/NOTIFY wakes; the table is the truth."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from predictive_scaling.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Command:
    """One request. status: asked, claimed or answered."""

    id: int
    created_at: datetime
    kind: str
    """Such as reload_models or clear_stuck_decisions."""
    arguments: dict[str, Any]
    status: str
    answer: dict[str, Any] | None
    answered_at: datetime | None


ASK = """
with asked as (
    insert into commands (created_at, kind, arguments) values (%(now)s, %(kind)s, %(arguments)s) returning id)
select id, pg_notify('predictive_scaling_commands', id::text) from asked
"""

CLAIM = """
update commands set status = 'claimed', claimed_at = %(now)s
where id = (
    select id from commands
    where kind = any(%(kinds)s) and created_at > %(asked_after)s
        and (status = 'asked' or (status = 'claimed' and claimed_at < %(abandoned_before)s))
    order by id limit 1 for update skip locked)
returning id, created_at, kind, arguments, status, answer, answered_at
"""

ANSWER = """
with answered as (
    update commands set status = 'answered', answer = %(answer)s, answered_at = %(now)s
    where id = %(id)s and status <> 'answered' returning id)
select pg_notify('predictive_scaling_answers', id::text) from answered
"""

BY_ID = """
select id, created_at, kind, arguments, status, answer, answered_at from commands where id = %(id)s
"""


HEAR = "select pg_advisory_lock_shared(%(key)s)"

IS_HEARD = """
select exists (select from pg_locks
    where locktype = 'advisory' and objsubid = 1 and granted
        and database = (select oid from pg_database where datname = current_database())
        and ((classid::bigint << 32) | objid::bigint) = %(key)s)
"""

_HEARING = {"key": 0x7072_6564_7363_616C}
"""Names the lock that whoever listens to commands holds for as long as its connection lives."""


class Commands:
    """The table `commands`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ask(self, kind: str, arguments: dict[str, Any], now: datetime) -> int:
        """Ask for something; the id to wait with."""
        async with self._database.connection() as connection:
            values = {"now": now, "kind": kind, "arguments": Jsonb(arguments)}
            row = await (await connection.execute(ASK, values)).fetchone()
            return row[0] if row else 0

    async def by_id(self, id: int) -> Command | None:  # noqa: A002 (the column's name)
        """A command as it stands."""
        return await self._command(BY_ID, {"id": id})

    async def claim(
        self, kinds: Sequence[str], now: datetime, patience: timedelta = timedelta(minutes=1)
    ) -> Command | None:
        """Take the oldest open command of these kinds; no one else gets it.

        One that was claimed longer ago than `patience` and never answered may be taken again; one that was asked more
        than an hour ago is no longer wanted.
        """
        values = {
            "kinds": list(kinds),
            "now": now,
            "abandoned_before": now - patience,
            "asked_after": now - timedelta(hours=1),
        }
        return await self._command(CLAIM, values)

    async def answer(self, id: int, answer: dict[str, Any], now: datetime) -> None:  # noqa: A002 (the column's name)
        """Answer a command; the first answer stays."""
        async with self._database.connection() as connection:
            await connection.execute(ANSWER, {"id": id, "answer": Jsonb(answer), "now": now})

    async def wait(self, id: int, limit_seconds: float) -> dict[str, Any] | None:  # noqa: A002 (the column's name)
        """The answer, or None where there is none within `limit_seconds` of real time. Holds a connection meanwhile."""
        try:
            async with (
                asyncio.timeout(limit_seconds),
                aclosing(self._notifications("predictive_scaling_answers")) as notifications,
            ):
                async for connection in notifications:
                    command = await _command(connection, BY_ID, {"id": id})
                    if command is None or command.answer is not None:
                        return command.answer if command else None
        except TimeoutError:
            return None
        return None

    async def is_heard(self) -> bool:
        """Whether an operator listens, and so would take a command now."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(IS_HEARD, _HEARING)).fetchone()
            return bool(row and row[0])

    async def listen(self) -> AsyncGenerator[None]:
        """Yields once at the start, then whenever something was asked, and at least every 30 real seconds.

        Holds a connection. Ends with DatabaseUnavailableError when the server goes away: listen again then.
        """
        async with aclosing(self._notifications("predictive_scaling_commands")) as notifications:
            async for _ in notifications:
                yield

    async def _notifications(self, channel: str) -> AsyncGenerator[Connection]:
        async with self._database.connection() as connection:
            await connection.set_autocommit(True)
            try:
                await _listen(connection, channel)
                while True:
                    yield connection
                    async for _ in connection.notifies(timeout=30.0, stop_after=1):
                        pass
            finally:
                await connection.close()  # a listening connection must not go back among the others

    async def _command(self, query: Any, values: dict[str, Any]) -> Command | None:
        async with self._database.connection() as connection:
            return await _command(connection, query, values)


async def _command(connection: Connection, query: Any, values: dict[str, Any]) -> Command | None:
    async with connection.cursor(row_factory=class_row(Command)) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchone()


async def _listen(connection: Connection, channel: str) -> None:
    await connection.execute("set idle_in_transaction_session_timeout = 0")
    if channel == "predictive_scaling_commands":
        await connection.execute(HEAR, _HEARING)
        await connection.execute("listen predictive_scaling_commands")
    else:
        await connection.execute("listen predictive_scaling_answers")
