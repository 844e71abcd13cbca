"""The output of generate-data reaches the rollups, through Kafka and ingest or directly into the database."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictive_scaling.clock import WallClock
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.ports import free_port
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.synthesis.services import Plan, Service, services
from predictive_scaling.synthesis.timeline import FloatArray
from tests.support.eventually import eventually
from tests.support.ingesting import Pipeline, ingesting, rows, run, scalar

pytestmark = pytest.mark.integration

UNTIL = WallClock().now().replace(second=0, microsecond=0) - timedelta(days=340)
"""Older than the retention of raw samples, and within the retention of rollups."""
PLAN = Plan(UNTIL, days=1, services=3, seed=7)


@pytest.fixture
async def pipeline(
    kafka: Kafka, topic: str, dead_letter_topic: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[Pipeline]:
    pipeline = Pipeline(
        kafka.bootstrap_servers, topic, dead_letter_topic, migrated_database_url, tmp_path / "ingest.log"
    )
    yield pipeline
    print(pipeline.log.read_text() if pipeline.log.exists() else "ingest did not run")


async def generate(pipeline: Pipeline, folder: Path, to: str, *options: str) -> tuple[int, str]:
    arguments = (
        "--days",
        "1",
        "--seed",
        "7",
        "--services",
        "3",
        "--until",
        UNTIL.isoformat(),
        "--folder",
        str(folder),
        "--output",
        "json",
    )
    return await run(pipeline, "generate-data", "--to", to, *arguments, *options)


async def stored(pipeline: Pipeline, service: Service) -> FloatArray:
    """Return a service's demand as the operator reads it."""
    timeline, key = service.timeline, SeriesKey(service.name, service.profile.metric)
    async with Database(pipeline.database_url, purpose="tests", max_size=1) as database:
        return (await Demand(database).minutes([key], timeline.start, timeline.end))[key]


async def assert_all_demand_stored(pipeline: Pipeline) -> None:
    for service in services(PLAN):
        np.testing.assert_allclose(await stored(pipeline, service), service.values.sum(axis=0), err_msg=service.name)


async def test_demand_sent_to_kafka_reaches_the_rollups(pipeline: Pipeline, tmp_path: Path) -> None:
    code, output = await generate(pipeline, tmp_path, "kafka")
    assert code == 0, output
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    expected = sum(service.rows for service in services(PLAN))
    assert report["rows"] == expected
    async with ingesting(pipeline):
        count = "select coalesce(sum(count), 0) from metrics_1m"
        await eventually(
            lambda: scalar(pipeline, count), lambda stored_samples: stored_samples >= expected, seconds=120
        )
    await assert_all_demand_stored(pipeline)
    assert await scalar(pipeline, "select count(*) from dead_letters") == 0


async def test_generating_the_same_data_again_adds_no_rows(pipeline: Pipeline, tmp_path: Path) -> None:
    code, output = await generate(pipeline, tmp_path, "database")
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert (code, report["new_rows"]) == (0, report["rows"])
    await assert_all_demand_stored(pipeline)
    labels = await rows(pipeline, "select distinct labels from series where service_name = 'web-shop'")
    assert {label[0]["instance"] for label in labels} == {f"web-shop-{number}" for number in range(3)}
    code, output = await generate(pipeline, tmp_path, "database")
    assert (code, json.loads(output.splitlines()[-1])["new_rows"]) == (0, 0)
    await assert_all_demand_stored(pipeline)


async def test_an_unreachable_broker_is_named(pipeline: Pipeline, tmp_path: Path) -> None:
    unreachable = Pipeline(f"127.0.0.1:{free_port()}", pipeline.topic, "dead", pipeline.database_url, pipeline.log)
    code, output = await _generate_with_short_timeout(unreachable, tmp_path)
    assert code == 75
    assert f"{pipeline.topic} of Kafka at {unreachable.bootstrap_servers} did not accept" in output


async def test_a_database_without_the_schema_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    async with Database(pipeline.database_url, purpose="tests") as database, database.connection() as connection:
        await connection.execute("drop schema public cascade")
        await connection.execute("create schema public")
    code, output = await generate(pipeline, tmp_path, "database")
    assert code == 78
    assert "predictive-scaling migrate" in output


async def _generate_with_short_timeout(pipeline: Pipeline, folder: Path) -> tuple[int, str]:
    settings = {"PREDICTIVE_SCALING_KAFKA_OPTIONS": json.dumps({"message.timeout.ms": "1500"})}
    arguments = ("--days", "1", "--services", "1", "--resolution", "30m", "--until", UNTIL.isoformat())
    return await run(pipeline, "generate-data", "--to", "kafka", "--folder", str(folder), *arguments, **settings)
