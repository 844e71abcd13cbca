"""A copy of the ScalingBacktests for the HTTP API, and the result of each input with its report."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from predictive_scaling.storage.cursors import decode_cursor, encode_cursor
from predictive_scaling.storage.database import Database


@dataclass(frozen=True, slots=True)
class BacktestRow:
    """A ScalingBacktest. policy: None if it has an inline policy. input_hash: None before its end. status: as in the
    cluster.
    """

    uid: str
    namespace: str
    name: str
    policy: str | None
    created_at: datetime
    phase: str
    input_hash: str | None
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BacktestPage:
    """A page of backtests by namespace and name. next_cursor: None on the last page."""

    backtests: Sequence[BacktestRow]
    next_cursor: str | None


RECORD = """
insert into backtests (uid, namespace, name, policy, created_at, phase, input_hash, status)
values (%(uid)s, %(namespace)s, %(name)s, %(policy)s, %(created_at)s, %(phase)s, %(input_hash)s, %(status)s)
on conflict (uid) do update
set phase = excluded.phase, input_hash = excluded.input_hash, status = excluded.status
"""

FORGET_OTHERS = """
delete from backtests
where (%(watched)s::text[] is null or namespace = any(%(watched)s)) and uid <> all(%(uids)s::text[])
"""

PAGE = """
select uid, namespace, name, policy, created_at, phase, input_hash, status
from backtests
where (%(namespaces)s::text[] is null or namespace = any(%(namespaces)s))
    and (%(after)s::text is null or (namespace, name, uid) > (%(after)s, %(name)s, %(uid)s))
order by namespace, name, uid
limit %(limit)s
"""

OF = """
select uid, namespace, name, policy, created_at, phase, input_hash, status
from backtests
where namespace = %(namespace)s and name = %(name)s
order by created_at desc
limit 1
"""

RECORD_RESULT = """
insert into backtest_results (input_hash, created_at, result, report)
values (%(input_hash)s, %(created_at)s, %(result)s, %(report)s)
on conflict (input_hash) do nothing
"""

RESULT = "select result from backtest_results where input_hash = %(input_hash)s"
REPORT = "select report from backtest_results where input_hash = %(input_hash)s"


class Backtests:
    """The table `backtests`. watched: the namespaces of this operator; none means all."""

    def __init__(self, database: Database, watched: Sequence[str] = ()) -> None:
        self._database = database
        self._watched = list(watched) or None

    async def record(self, changed: Sequence[BacktestRow], kept: Sequence[str]) -> None:
        """Write the changed rows and delete those of all backtests except `kept` (uids)."""
        values = [asdict(row) | {"status": Jsonb(row.status)} for row in changed]
        async with self._database.connection() as connection, connection.cursor() as cursor:
            await cursor.executemany(RECORD, values)
            await cursor.execute(FORGET_OTHERS, {"watched": self._watched, "uids": list(kept)})

    async def page(self, limit: int, *, namespaces: list[str] | None = None, cursor: str | None = None) -> BacktestPage:
        """Return a page of the backtests, optionally of some namespaces. Raises InvalidCursorError."""
        after, name, uid = decode_cursor(cursor, str, str, str) if cursor else (None, None, None)
        values = {"namespaces": namespaces, "after": after, "name": name, "uid": uid, "limit": limit + 1}
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(BacktestRow)) as rows,
        ):
            await rows.execute(PAGE, values)
            fetched = await rows.fetchall()
        shown = fetched[:limit]
        last = shown[-1] if len(fetched) > limit else None
        return BacktestPage(shown, encode_cursor(last.namespace, last.name, last.uid) if last else None)

    async def of(self, namespace: str, name: str) -> BacktestRow | None:
        """Return a backtest; None if there is none."""
        async with (
            self._database.reading() as connection,
            connection.cursor(row_factory=class_row(BacktestRow)) as rows,
        ):
            await rows.execute(OF, {"namespace": namespace, "name": name})
            return await rows.fetchone()


class BacktestResults:
    """The table `backtest_results`. Reports are stored compressed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, input_hash: str, result: Mapping[str, Any], report: str, now: datetime) -> None:
        """Record the result of an input; an earlier result of the same input stays."""
        compressed = zlib.compress(report.encode())
        values = {"input_hash": input_hash, "created_at": now, "result": Jsonb(result), "report": compressed}
        async with self._database.connection() as connection:
            await connection.execute(RECORD_RESULT, values)

    async def result(self, input_hash: str) -> Mapping[str, Any] | None:
        """Return the result of an input; None if it is not known."""
        async with self._database.connection() as connection:
            row = await (await connection.execute(RESULT, {"input_hash": input_hash})).fetchone()
        return row[0] if row else None

    async def report(self, input_hash: str) -> str | None:
        """Return the HTML report of an input; None if it is not known."""
        async with self._database.reading() as connection:
            row = await (await connection.execute(REPORT, {"input_hash": input_hash})).fetchone()
        return zlib.decompress(row[0]).decode() if row else None
