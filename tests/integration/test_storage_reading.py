"""Reading without a transaction restores the connection's transaction mode."""

import asyncio
from contextlib import suppress

import psycopg
import pytest

from predictive_scaling.storage.database import Database

pytestmark = pytest.mark.integration


async def test_a_connection_uses_transactions_again_after_reading(migrated_database_url: str) -> None:
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


async def test_a_cancelled_read_does_not_affect_the_next_reader(migrated_database_url: str) -> None:
    async with Database(migrated_database_url, max_size=1) as database:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), database.reading() as connection:
                await connection.execute("select pg_sleep(30)")
        async with database.connection() as connection:
            assert not connection.autocommit
            row = await (await connection.execute("select 1")).fetchone()
            assert row == (1,)
