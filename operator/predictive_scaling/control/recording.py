"""Writing rows of many objects to one table: a row that PostgreSQL refuses is left out, and the others are written."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from prometheus_client import Counter

from predictive_scaling.errors import DatabaseUnavailableError

log = structlog.get_logger(__name__)

ROWS_REFUSED = Counter(
    "predictive_scaling_rows_refused_total", "Rows that the database refused and that were left out.", ["table"]
)

Row = TypeVar("Row")


async def record_accepted(
    record: Callable[[Sequence[Row]], Awaitable[object]], rows: Sequence[Row], table: str, name: Callable[[Row], str]
) -> None:
    """Write all rows that the database accepts, in as few batches as possible; refused rows are logged and counted.

    name: what a row is of, for the log. Raises DatabaseUnavailableError: some of the rows may be written then, and all
    may be written again.
    """
    if not rows:
        return
    try:
        await record(rows)
    except DatabaseUnavailableError:
        raise
    except Exception as error:  # psycopg's errors of data, and Python's while it converts a value
        if len(rows) == 1:
            ROWS_REFUSED.labels(table).inc()
            log.warning("row_refused", table=table, row=name(rows[0]), error=str(error))
            return
        middle = len(rows) // 2
        await record_accepted(record, rows[:middle], table, name)
        await record_accepted(record, rows[middle:], table, name)
