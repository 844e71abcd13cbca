"""A policy that scales on demand from a pull source alone: no Kafka, no Redis, no samples before."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, ingesting, rows
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_scaling_policy
from tests.support.observing import get_decisions, get_minimum
from tests.support.operator_process import NOON, OperatorProcess
from tests.support.prometheus_server import PASSWORD, USER, counter_history, prometheus_server

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]

DEMAND = 880.0
HISTORY = timedelta(days=2)
METRIC = "requests_per_second"


@pytest.fixture
async def visits_url(database_url: str) -> AsyncGenerator[str]:
    """The database of an application with a value per minute, as a role that may only read sees it."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("create table visits (minute timestamptz primary key, rate float8 not null)")
        await connection.execute(
            "insert into visits select minute, 880 from generate_series(%s::timestamptz, %s, '1 minute') as minute",
            [NOON - HISTORY, NOON + timedelta(hours=12)],
        )
        await connection.execute("create role visits_reader login password 'reader'")
        await connection.execute("grant select on visits to visits_reader")
    yield make_conninfo("", **(conninfo_to_dict(database_url) | {"user": "visits_reader", "password": "reader"}))
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("drop owned by visits_reader")
        await connection.execute("drop role visits_reader")


async def expect_raise_from(source: dict[str, Any], operator: OperatorProcess, kubectl: Kubectl, folder: Path) -> None:
    file = folder / "sources.json"
    file.write_text(json.dumps({"sources": [{"backfill": "2d", **source}]}))
    pipeline = Pipeline("", "none", "none", operator.database_url, folder / "ingest.log")
    settings = {"PREDICTIVE_SCALING_SOURCES": str(file), "PREDICTIVE_SCALING_CLOCK": str(operator.clock)}
    assert "REDIS_URL" not in pipeline.environment(0)
    await operator.start(KAFKA_BOOTSTRAP_SERVERS="")
    demand = {"service": "checkout", "metric": METRIC, "perReplica": "100"}
    await kubectl.apply(a_scaling_policy(demand=demand))
    async with ingesting(pipeline, **settings) as ingester:
        # Nine replicas are needed; a forecast from a history that is still being read may add a reserve.
        await eventually(lambda: get_minimum(kubectl), lambda minimum: minimum >= 9, seconds=40)
        newest = (await get_decisions(kubectl))[-1]
        assert newest["spec"]["reason"] == "ForecastRose", newest["spec"]
        assert METRIC in newest["spec"]["message"]
        print(newest["spec"]["message"])
        assert await ingester.terminate() == 0
    ((first, values),) = await rows(pipeline, "select min(minute), array_agg(distinct sum) from metrics_1m")
    assert first <= NOON - HISTORY + timedelta(hours=6)
    assert values == pytest.approx([DEMAND] * len(values))


async def test_a_policy_scales_on_a_postgresql_query_alone(
    own_operator: OperatorProcess, kubectl: Kubectl, visits_url: str, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text(visits_url)
    query = "select minute as time, rate as value from visits where minute >= %(from)s and minute < %(to)s"
    source = {
        "name": "visits",
        "kind": "postgresql",
        "urlFile": str(tmp_path / "url"),
        "queries": [{"metric": METRIC, "service": "checkout", "query": query}],
    }
    await expect_raise_from(source, own_operator, kubectl, tmp_path)


async def test_a_policy_scales_on_prometheus_alone(
    own_operator: OperatorProcess, kubectl: Kubectl, tmp_path: Path
) -> None:
    """A real server with TLS, a client certificate, and a password."""
    history = counter_history(
        "http_requests_total", 'app="checkout"', DEMAND, NOON - HISTORY - timedelta(hours=1), NOON + timedelta(hours=12)
    )
    (tmp_path / "password").write_text(PASSWORD)
    async with prometheus_server(tmp_path / "prometheus", history=history, secure=True) as server:
        assert server.client is not None
        query = "sum by (app) (rate(http_requests_total[2m]))"
        source = {
            "name": "prometheus",
            "kind": "prometheus",
            "url": server.url,
            "basicAuth": {"username": USER, "passwordFile": str(tmp_path / "password")},
            "tls": {
                "caFile": str(server.client.authority),
                "certFile": str(server.client.certificate.certificate),
                "keyFile": str(server.client.certificate.key),
            },
            "queries": [{"metric": METRIC, "serviceLabel": "app", "query": query}],
        }
        await expect_raise_from(source, own_operator, kubectl, tmp_path)
