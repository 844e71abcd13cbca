"""`predictive-scaling series` on a real database: what a policy may name, and how it is recorded."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.clock import WallClock
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.samples import Sample, Samples, series_of
from tests.support.ingesting import Pipeline, run

pytestmark = pytest.mark.integration

MINUTE = timedelta(minutes=1)
NOW = WallClock().now().replace(second=0, microsecond=0)
FIRST = NOW - timedelta(hours=2)


def samples(service: str, metric: str, *, count: int, counter: bool = False, **labels: str) -> list[Sample]:
    return [
        Sample(FIRST + number * MINUTE, service, metric, series_of(labels), float(number), labels, counter)
        for number in range(count)
    ]


@pytest.fixture
async def pipeline(database: Database, migrated_database_url: str, tmp_path: Path) -> Pipeline:
    await Samples(database).record(
        [
            *samples("checkout", "requests_total", count=120, counter=True, pod="a", zone="x"),
            *samples("checkout", "requests_total", count=120, counter=True, pod="b"),
            *samples("checkout", "queue", count=61),
            *samples("[bold]cart", "queue", count=1),
        ]
    )
    return Pipeline("", "", "", migrated_database_url, tmp_path / "log")


async def listed(pipeline: Pipeline, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code, output = await run(pipeline, "series", "--output", "json", *arguments)
    return code, json.loads(output)["series"]


async def test_each_metric_has_its_labels_times_and_rate(pipeline: Pipeline) -> None:
    code, series = await listed(pipeline)
    assert code == 0
    assert [(entry["service"], entry["metric"], entry["kind"], entry["series"]) for entry in series] == [
        ("[bold]cart", "queue", "gauge", 1),
        ("checkout", "queue", "gauge", 1),
        ("checkout", "requests_total", "counter", 2),
    ]
    requests = series[-1]
    assert requests["labels"] == ["pod", "zone"]
    assert requests["first"] == f"{FIRST:%Y-%m-%dT%H:%M:%SZ}"
    assert requests["last"] == f"{FIRST + 119 * MINUTE:%Y-%m-%dT%H:%M:%SZ}"
    assert requests["samples_per_minute"] == 2.0
    assert series[1]["samples_per_minute"] == 1.0


async def test_filters_and_the_empty_result(pipeline: Pipeline) -> None:
    _, queues = await listed(pipeline, "--metric", "queue", "--service", "checkout")
    assert [(entry["service"], entry["metric"]) for entry in queues] == [("checkout", "queue")]
    assert await listed(pipeline, "--service", "other") == (1, [])
    code, text = await run(pipeline, "series")
    assert code == 0
    assert "[bold]cart" in text
