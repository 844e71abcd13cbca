"""What generate-data makes up arrives, by way of Kafka and ingest as well as at once, and its rollups are right."""

import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.ports import free_port
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand, DemandKey
from predictive_scaling.synthesis.services import Plan, Service, services
from predictive_scaling.synthesis.timeline import FloatArray
from tests.support.eventually import eventually
from tests.support.ingesting import Place, ingesting, rows, run, scalar

pytestmark = pytest.mark.integration

UNTIL = WallClock().now().replace(second=0, microsecond=0) - timedelta(days=340)
"""Long ago, and within what the rollups keep."""
PLAN = Plan(UNTIL, days=1, services=3, seed=7)


@pytest.fixture
async def place(
    kafka: Kafka, topic: str, dead_letter_topic: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[Place]:
    place = Place(kafka.bootstrap_servers, topic, dead_letter_topic, migrated_database_url, tmp_path / "ingest.log")
    yield place
    print(place.log.read_text() if place.log.exists() else "never ran")


async def generate(place: Place, folder: Path, to: str, *more: str) -> tuple[int, str]:
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
    return await run(place, "generate-data", "--to", to, *arguments, *more)


async def stored(place: Place, service: Service) -> FloatArray:
    """A service's demand as the operator reads it."""
    timeline, key = service.timeline, DemandKey(service.name, service.profile.metric)
    async with Database(place.database_url, purpose="tests", max_size=1) as database:
        return (await Demand(database).minutes([key], timeline.start, timeline.end))[key]


async def assert_all_there(place: Place) -> None:
    for service in services(PLAN):
        np.testing.assert_allclose(await stored(place, service), service.values.sum(axis=0), err_msg=service.name)


async def test_what_goes_into_kafka_comes_out_of_the_rollups(place: Place, tmp_path: Path) -> None:
    code, said = await generate(place, tmp_path, "kafka")
    assert code == 0, said
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    expected = sum(service.rows for service in services(PLAN))
    assert report["rows"] == expected
    async with ingesting(place):
        count = "select coalesce(sum(count), 0) from metrics_1m"
        await eventually(lambda: scalar(place, count), lambda found: found >= expected, seconds=120)
    await assert_all_there(place)
    assert await scalar(place, "select count(*) from dead_letters") == 0


async def test_the_database_gets_it_once_however_often_it_is_made(place: Place, tmp_path: Path) -> None:
    code, said = await generate(place, tmp_path, "database")
    report: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert (code, report["new_rows"]) == (0, report["rows"])
    await assert_all_there(place)
    labels = await rows(place, "select distinct labels from series where service_name = 'web-shop'")
    assert {label[0]["instance"] for label in labels} == {f"web-shop-{number}" for number in range(3)}
    code, said = await generate(place, tmp_path, "database")
    assert (code, json.loads(said.splitlines()[-1])["new_rows"]) == (0, 0)
    await assert_all_there(place)


async def test_a_broker_that_is_away_is_named(place: Place, tmp_path: Path) -> None:
    nowhere = Place(f"127.0.0.1:{free_port()}", place.topic, "dead", place.database_url, place.log)
    code, said = await _with_little_patience(nowhere, tmp_path)
    assert code == 75
    assert f"{place.topic} of Kafka at {nowhere.bootstrap_servers} did not accept" in said


async def test_a_database_without_our_tables_is_refused(place: Place, tmp_path: Path) -> None:
    async with Database(place.database_url, purpose="tests") as database, database.connection() as connection:
        await connection.execute("drop schema public cascade")
        await connection.execute("create schema public")
    code, said = await generate(place, tmp_path, "database")
    assert code == 78
    assert "predictive-scaling migrate" in said


async def _with_little_patience(place: Place, folder: Path) -> tuple[int, str]:
    settings = {"PREDICTIVE_SCALING_KAFKA_OPTIONS": json.dumps({"message.timeout.ms": "1500"})}
    arguments = ("--days", "1", "--services", "1", "--resolution", "30m", "--until", UNTIL.isoformat())
    return await run(place, "generate-data", "--to", "kafka", "--folder", str(folder), *arguments, **settings)
