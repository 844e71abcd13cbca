"""Commands of the API to the operator, and their results. The table holds them; LISTEN/NOTIFY only wakes readers."""

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
    """A command. status: asked, claimed or answered."""

    id: int
    created_at: datetime
    kind: str
    """Such as reload_models or clear_stuck_decisions."""
    arguments: dict[str, Any]
    status: str
    answer: dict[str, Any] | None
    answered_at: datetime | None


SUBMIT = """
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


LOCK_LISTENER = "select pg_advisory_lock_shared(%(key)s)"

HAS_LISTENER = """
select exists (select from pg_locks
    where locktype = 'advisory' and objsubid = 1 and granted
        and database = (select oid from pg_database where datname = current_database())
        and ((classid::bigint << 32) | objid::bigint) = %(key)s)
"""

_LISTENER_LOCK = {"key": 0x7072_6564_7363_616C}
"""The advisory lock that a listener holds while its connection lives."""


class Commands:
    """The table `commands`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def submit(self, kind: str, arguments: dict[str, Any], now: datetime) -> int:
        """Insert a command and return its id."""
        async with self._database.connection() as connection:
            values = {"now": now, "kind": kind, "arguments": Jsonb(arguments)}
            row = await (await connection.execute(SUBMIT, values)).fetchone()
            return row[0] if row else 0

    async def by_id(self, id: int) -> Command | None:  # noqa: A002 (the column's name)
        """Return a command; None if it does not exist."""
        return await self._command(BY_ID, {"id": id})

    async def claim(
        self, kinds: Sequence[str], now: datetime, claim_timeout: timedelta = timedelta(minutes=1)
    ) -> Command | None:
        """Claim the oldest open command of these kinds exclusively.

        A command claimed more than `claim_timeout` ago without an answer is claimed again; commands older than an hour
        are ignored.
        """
        values = {
            "kinds": list(kinds),
            "now": now,
            "abandoned_before": now - claim_timeout,
            "asked_after": now - timedelta(hours=1),
        }
        return await self._command(CLAIM, values)

    async def answer(self, id: int, answer: dict[str, Any], now: datetime) -> None:  # noqa: A002 (the column's name)
        """Store the result of a command; a stored result is not overwritten."""
        async with self._database.connection() as connection:
            await connection.execute(ANSWER, {"id": id, "answer": Jsonb(answer), "now": now})

    async def wait(self, id: int, limit_seconds: float) -> dict[str, Any] | None:  # noqa: A002 (the column's name)
        """Wait for the result, at most `limit_seconds` of real time; None on a timeout. Occupies a connection."""
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

    async def has_listener(self) -> bool:
        """Whether an operator listens for commands."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(HAS_LISTENER, _LISTENER_LOCK)).fetchone()
            return bool(row and row[0])

    async def listen(self) -> AsyncGenerator[None]:
        """Yield at the start, after each new command, and at least every 30 real seconds.

        Occupies a connection. Raises DatabaseUnavailableError when the server stops: call it again then.
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
                await connection.close()  # a listening connection must not return to the pool

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
        await connection.execute(LOCK_LISTENER, _LISTENER_LOCK)
        await connection.execute("listen predictive_scaling_commands")
    else:
        await connection.execute("listen predictive_scaling_answers")
