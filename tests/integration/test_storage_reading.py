"""Reading without a transaction leaves the connection as it was for whoever comes next."""

import asyncio
from contextlib import suppress

import psycopg
import pytest

from predictive_scaling.storage.database import Database

pytestmark = pytest.mark.integration


async def test_after_reading_a_connection_is_in_transactions_again(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=1) as database:
        async with database.reading() as connection:
            assert connection.autocommit
            await connection.execute("select 1")
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with suppress(psycopg.errors.UndefinedTable):
            async with database.reading() as connection:
                await connection.execute("select * from nothing_of_that_name")
        async with database.connection() as connection:
            assert not connection.autocommit
            await connection.execute("select 1")
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


async def test_reading_that_is_cancelled_costs_the_next_reader_nothing(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=1) as database:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), database.reading() as connection:
                await connection.execute("select pg_sleep(30)")
        async with database.connection() as connection:
            assert not connection.autocommit
            row = await (await connection.execute("select 1")).fetchone()
            assert row == (1,)
