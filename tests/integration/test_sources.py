"""From the servers of pull sources to a real PostgreSQL, without Kafka and Redis: every sample exactly once."""

import json
import signal
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.postgresql import PostgreSQL
from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, ingesting, rows, run, scalar
from tests.support.prometheus import error_response, prometheus_running, series_response

pytestmark = pytest.mark.integration

BACKFILL = timedelta(days=2)
RPS = "requests_per_second"


@pytest.fixture
async def pipeline(migrated_database_url: str, tmp_path: Path) -> AsyncGenerator[Pipeline]:
    pipeline = Pipeline("", "metrics.raw", "metrics.dead-letter", migrated_database_url, tmp_path / "ingest.log")
    yield pipeline
    print(pipeline.log.read_text() if pipeline.log.exists() else "ingest did not run")


def value_at(second: float) -> float:
    return float(second // 60 % 1000)


def sources_file(folder: Path, *sources: Mapping[str, Any]) -> str:
    file = folder / "sources.yaml"
    file.write_text(json.dumps({"sources": sources}))
    return str(file)


def a_prometheus(url: str, **changes: Any) -> dict[str, Any]:
    query = {"metric": RPS, "service": "checkout", "query": "sum(rate(http_requests_total[2m]))"}
    return {
        "name": "prometheus",
        "kind": "prometheus",
        "url": url,
        "interval": "1s",
        "delay": "0s",
        "backfill": "2d",
        "queries": [query],
    } | changes


async def wait_for_history(pipeline: Pipeline) -> None:
    missing = "select coalesce(bool_and(isempty(missing)), false) from source_positions"
    await eventually(lambda: scalar(pipeline, missing), bool, seconds=40)


async def expect_every_minute_once(pipeline: Pipeline, service: str = "checkout") -> None:
    stored = await rows(
        pipeline,
        "select minute, sum, count from metrics_1m join source_positions using (service_name, metric_name) "
        f"where service_name = '{service}' order by minute",
    )
    assert stored[-1][0] - stored[0][0] >= BACKFILL - timedelta(minutes=2)
    first = stored[0][0]
    assert [row[0] for row in stored] == [first + i * timedelta(minutes=1) for i in range(len(stored))]
    assert [(row[1], row[2]) for row in stored] == [(value_at(row[0].timestamp()), 1) for row in stored]


async def test_a_prometheus_server_alone_gives_the_newest_minutes_and_then_the_history(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    with prometheus_running(series_response(value_at)) as (url, requests):
        async with ingesting(
            pipeline, PREDICTIVE_SCALING_SOURCES=sources_file(tmp_path, a_prometheus(url))
        ) as ingester:
            await wait_for_history(pipeline)
            assert WallClock().now().timestamp() - float(requests[0]["end"]) < 3600
            await expect_every_minute_once(pipeline)

            async def health() -> str:
                return json.loads((await ingester.get("/health"))[1])["status"]

            await eventually(health, lambda status: status == "healthy")
            new = 'predictive_scaling_source_samples_total{outcome="new",source="prometheus"}'
            assert (await ingester.metric(new) or 0) >= 2 * 1440 - 2
            await eventually(
                lambda: ingester.metric("predictive_scaling_source_history_ratio"), lambda ratio: (ratio or 0) > 0.999
            )
            assert await ingester.terminate() == 0
    assert {float(request["start"]) % 60 for request in requests} == {0.0}


@pytest.mark.parametrize("point", ["sources.before_commit", "sources.after_commit"])
async def test_a_kill_in_a_backfill_neither_loses_nor_doubles_samples(
    pipeline: Pipeline, tmp_path: Path, point: str
) -> None:
    with prometheus_running(series_response(value_at)) as (url, _):
        # Raw rows are kept for a day, so that a part of the history has rollups only.
        settings = {
            "PREDICTIVE_SCALING_SOURCES": sources_file(tmp_path, a_prometheus(url)),
            "PREDICTIVE_SCALING_RETENTION_RAW": "24h",
        }
        for _ in range(3):
            async with ingesting(pipeline, **settings, PREDICTIVE_SCALING_FAULT=point) as ingester:
                assert await ingester.wait_for_exit() == -signal.SIGKILL
        async with ingesting(pipeline, **settings) as ingester:
            await wait_for_history(pipeline)
            await expect_every_minute_once(pipeline)
            assert await ingester.terminate() == 0


async def test_one_of_two_processes_polls_and_the_other_takes_over(pipeline: Pipeline, tmp_path: Path) -> None:
    with prometheus_running(series_response(value_at)) as (url, _):
        settings = {"PREDICTIVE_SCALING_SOURCES": sources_file(tmp_path, a_prometheus(url))}
        async with ingesting(pipeline, **settings) as first, ingesting(pipeline, **settings) as second:
            age = "predictive_scaling_source_age_seconds"
            for ingester in (first, second):
                await ingester.wait_until_live()

            async def polling() -> list[bool]:
                return [await ingester.metric(age) is not None for ingester in (first, second)]

            which = await eventually(polling, any)
            assert which in ([True, False], [False, True])
            leader, other = (first, second) if which[0] else (second, first)
            assert await leader.terminate() == 0
            await eventually(lambda: other.metric(age), lambda value: value is not None)
            await wait_for_history(pipeline)
            await expect_every_minute_once(pipeline)


async def test_a_failing_query_is_reported_and_disturbs_no_other(pipeline: Pipeline, tmp_path: Path) -> None:
    healthy = series_response(value_at)

    def response(request: dict[str, str]) -> tuple[int, bytes]:
        return (
            error_response(400, "parse error: unexpected end of input")
            if "(" not in request["query"]
            else healthy(request)
        )

    with prometheus_running(response) as (url, _):
        broken = a_prometheus(url, name="broken")
        broken["queries"] = [
            {"metric": RPS, "service": "cart", "query": "sum"},
            broken["queries"][0] | {"service": "search"},
        ]
        gone = a_prometheus("http://127.0.0.1:1", name="gone")
        gone["queries"] = [gone["queries"][0] | {"service": "gone"}]
        file = sources_file(tmp_path, broken, gone, a_prometheus(url))
        async with ingesting(pipeline, PREDICTIVE_SCALING_SOURCES=file) as ingester:
            count = "select count(*) from metrics_1m where service_name in ('checkout', 'search')"
            await eventually(lambda: scalar(pipeline, count), lambda stored: stored >= 2 * 2 * 1440 - 4, seconds=40)

            async def message() -> str:
                return json.loads((await ingester.get("/health"))[1])["checks"]["sources"].get("message", "")

            text = await eventually(message, lambda text: "gone" in text)
            assert "source broken, metric requests_per_second of cart, fails since" in text
            assert "400: parse error: unexpected end of input" in text
            assert (await ingester.get("/health/ready"))[0] == 200
    assert await scalar(pipeline, "select count(*) from metrics_1m where service_name in ('cart', 'gone')") == 0


@pytest.fixture
async def orders_url(postgres: PostgreSQL, database_url: str) -> AsyncGenerator[str]:
    """The database of an application, as a role that may only read sees it."""
    start = WallClock().now().replace(second=0, microsecond=0) - BACKFILL
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("create table orders (created_at timestamptz not null, shop text not null)")
        await connection.execute(
            "insert into orders select %s::timestamptz + i * interval '20 seconds', 'checkout' "
            "from generate_series(0, 8640 + 900) as i",
            [start],
        )
        await connection.execute("drop role if exists orders_reader")
        await connection.execute("create role orders_reader login password 'reader'")
        await connection.execute("grant select on orders to orders_reader")
    info = conninfo_to_dict(database_url)
    yield make_conninfo("", **(info | {"user": "orders_reader", "password": "reader"}))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("drop owned by orders_reader")
        await connection.execute("drop role orders_reader")


ORDERS = """
select date_trunc('minute', created_at) as time, count(*) as value, shop as service  -- per minute
from orders where created_at >= %(from)s and created_at < %(to)s group by 1, 3;
"""


def a_postgresql(url_file: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "orders",
        "kind": "postgresql",
        "urlFile": str(url_file),
        "interval": "1s",
        "delay": "0s",
        "backfill": "2d",
        "queries": [{"metric": "orders", "query": ORDERS}],
    } | changes


async def test_a_postgresql_query_gives_its_history_and_late_rows(
    pipeline: Pipeline, orders_url: str, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text(orders_url + "\n")
    file = sources_file(tmp_path, a_postgresql(tmp_path / "url"))
    async with ingesting(pipeline, PREDICTIVE_SCALING_SOURCES=file) as ingester:
        await wait_for_history(pipeline)
        counts = "select distinct sum from metrics_1m where minute > (select min(minute) from metrics_1m)"
        assert await rows(pipeline, counts) == [(3.0,)]
        # A transaction that commits late changes a minute that was read.
        late = await scalar(pipeline, "select max(minute) from metrics_1m")
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute("insert into orders values (%s, 'checkout')", [late + timedelta(seconds=1)])
        corrected = f"select sum from metrics_1m where minute = '{late.isoformat()}'"
        await eventually(lambda: scalar(pipeline, corrected), lambda value: value == 4.0, seconds=40)
        assert await scalar(pipeline, "select max(count) from metrics_1m") == 1
        assert await ingester.terminate() == 0
    assert "reader" not in pipeline.log.read_text()


async def test_a_source_neither_writes_nor_connects_as_a_superuser(
    pipeline: Pipeline, orders_url: str, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "reader").write_text(orders_url)
    (tmp_path / "superuser").write_text(database_url)
    volatile = "create function clear() returns bigint language sql as 'delete from orders returning 1::bigint'"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(volatile)
        await connection.execute("grant delete on orders to orders_reader")
    writing = {
        "metric": "orders",
        "service": "a",
        "query": "select %(from)s as time, clear() as value where %(to)s > '2000-01-01'",
    }
    file = sources_file(
        tmp_path,
        a_postgresql(tmp_path / "reader", queries=[writing]),
        a_postgresql(tmp_path / "superuser", name="powerful"),
    )
    async with ingesting(pipeline, PREDICTIVE_SCALING_SOURCES=file):
        errors = "select string_agg(error, ' ') from source_positions"
        text = await eventually(lambda: scalar(pipeline, errors), lambda text: "superuser" in (text or ""))
        text = await eventually(lambda: scalar(pipeline, errors), lambda text: "read-only" in (text or ""))
        assert "the role is a superuser; create a role that may only read" in text
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        row = await (await connection.execute("select count(*) from orders")).fetchone()
    assert row == (9541,)


async def test_ingest_without_anything_to_read_names_the_settings(pipeline: Pipeline) -> None:
    code, output = await run(pipeline, "ingest")
    assert code == 78
    assert "KAFKA_BOOTSTRAP_SERVERS" in output
    assert "PREDICTIVE_SCALING_SOURCES" in output
