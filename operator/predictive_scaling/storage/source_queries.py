"""Queries of pull sources on PostgreSQL databases of others: read-only, with limits on time and rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from predictive_scaling.errors import (
    SettingsError,
    SourceRefusedError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from predictive_scaling.storage.database import connection_arguments

_REQUIRED, _OPTIONAL = ("time", "value"), ("service", "labels")
IS_SUPERUSER = "select rolsuper from pg_roles where rolname = current_user"
_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of a query. value: NaN for null. service: None without that column."""

    time: datetime
    value: float
    service: str | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SourceDatabase:
    """A database that is only read. url: a secret. timeout: of a statement."""

    url: str
    timeout: timedelta
    max_rows: int

    async def rows(self, query: str, start: datetime, end: datetime) -> list[SourceRow]:
        """Return the rows of a query with the parameters from and to.

        Raises SourceUnavailableError (retry later), SourceTooLargeError (read a shorter span), SourceRefusedError.
        """
        try:
            async with await psycopg.AsyncConnection.connect(**self._arguments()) as connection:
                await connection.set_read_only(True)
                await self._refuse_superuser(connection)
                cursor = await connection.execute(self._limited(query), {"from": start, "to": end})
                names = [column.name for column in cursor.description or ()]
                _check_columns(names)
                records = await cursor.fetchall()
                await connection.rollback()
        except psycopg.errors.QueryCanceled as error:
            raise SourceTooLargeError(f"the query took longer than {self.timeout.total_seconds():g} s") from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise SourceUnavailableError(f"PostgreSQL does not answer: {_first_line(error)}") from error
        except psycopg.Error as error:
            raise SourceRefusedError(f"PostgreSQL refused the query: {_first_line(error)}") from error
        if len(records) > self.max_rows:
            raise SourceTooLargeError(f"the query returned more than {self.max_rows} rows; aggregate by minute")
        return [_row(names, record) for record in records]

    def _arguments(self) -> dict[str, Any]:
        try:
            arguments = connection_arguments(self.url, "source", self.timeout)
        except SettingsError as error:
            raise SourceRefusedError(str(error).replace("DATABASE_URL", "the URL of the source")) from None
        # A standby is as good, and often better.
        arguments["target_session_attrs"] = "any"
        arguments["connect_timeout"] = _CONNECT_SECONDS
        arguments["options"] += " -c default_transaction_read_only=on"
        return arguments

    async def _refuse_superuser(self, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        row = await (await connection.execute(IS_SUPERUSER)).fetchone()
        if row is not None and row[0]:
            raise SourceRefusedError("the role is a superuser; create a role that may only read")

    def _limited(self, query: str) -> sql.Composed:
        # A subquery can only be a SELECT; the line break ends a comment at the end of the query.
        text = query.strip().rstrip(";")
        return sql.SQL("select * from ({}\n) as rows limit {}").format(
            sql.SQL(cast(Any, text)), sql.Literal(self.max_rows + 1)
        )


def _check_columns(names: Sequence[str]) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    unknown = [name for name in names if name not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown or len(set(names)) < len(names):
        raise SourceRefusedError(
            f"the query returns the columns {', '.join(names)}; it must return time and value, and may return service "
            "and labels"
        )


def _row(names: Sequence[str], record: TupleRow) -> SourceRow:
    row = dict(zip(names, record, strict=True))
    time, value, service, labels = row["time"], row["value"], row.get("service"), row.get("labels")
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise SourceRefusedError("the column time must be a timestamptz; write such as created_at at time zone 'UTC'")
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | None):
        raise SourceRefusedError("the column value must be a number")
    if "service" in row and not isinstance(service, str):
        raise SourceRefusedError("the column service must be a text that is not null")
    if labels is not None and not isinstance(labels, dict):
        raise SourceRefusedError("the column labels must be a jsonb object")
    texts = {str(name): str(text) for name, text in cast("dict[Any, Any]", labels or {}).items()}
    return SourceRow(time, math.nan if value is None else float(value), service, texts)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
