"""`train` as a person and the operator run it: a process, against a real database."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import pi, sin
from pathlib import Path

import numpy as np
import pytest

from forecasting.forecaster import ModelChoice
from forecasting.series import Series
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.series_key import SHARED, SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore
from tests.support.demand import METRIC, record_demand

pytestmark = pytest.mark.integration
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
KEY = SeriesKey("checkout", METRIC, "Sum")


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    output: str
    errors: str


async def start(url: str, models: Path, *arguments: str) -> asyncio.subprocess.Process:
    # The clock stands at NOW: its origin lies far ahead.
    environment = {
        "DATABASE_URL": url,
        "PREDICTIVE_SCALING_MODELS_DIR": str(models),
        "PREDICTIVE_SCALING_CLOCK": f"{NOW.isoformat()},1e12,1",
        "PREDICTIVE_SCALING_TRAINER_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "predictive_scaling", "train", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )


async def train(url: str, models: Path, *arguments: str) -> Ended:
    child = await start(url, models, *arguments)
    output, errors = await asyncio.wait_for(child.communicate(), 240)
    return Ended(child.returncode or 0, output.decode(), errors.decode())


def a_day(at: datetime) -> float:
    return 100 + 60 * sin((at.hour + at.minute / 60) / 12 * pi) + (at.minute * 7 + at.hour * 3) % 11


async def test_train_learns_from_the_database_and_a_shelf_takes_it_up(
    migrated_database_url: str, tmp_path: Path
) -> None:
    await record_demand(migrated_database_url, "checkout", NOW - timedelta(days=4), NOW, a_day, timedelta(minutes=5))
    ended = await train(migrated_database_url, tmp_path / "models", "--output", "json")
    assert (ended.code, json.loads(ended.output)["failed"]) == (0, []), ended.errors
    (trained,) = json.loads(ended.output)["trained"]
    assert (trained["service"], trained["metric"], trained["aggregation"]) == ("checkout", METRIC, "Sum")
    assert trained["bins"] == 4 * 288
    assert trained["acting"] in trained["evidence"]
    model_store = ModelStore(tmp_path / "models", timeout_seconds=60)
    (reloaded,) = (await model_store.refresh()).reloaded
    assert (reloaded.key, reloaded.version) == (KEY, trained["version"])


async def test_several_series_share_a_model_that_serves_a_new_one(migrated_database_url: str, tmp_path: Path) -> None:
    since, models = NOW - timedelta(days=4), tmp_path / "models"
    for number, service in enumerate(("checkout", "cart")):

        def demand(at: datetime, number: int = number) -> float:
            return a_day(at) * 10**number

        await record_demand(migrated_database_url, service, since, NOW, demand, timedelta(minutes=5))
    ended = await train(migrated_database_url, models, "--shared-only", "--output", "json")
    assert (ended.code, json.loads(ended.output)["failed"]) == (0, []), ended.errors
    (trained,) = json.loads(ended.output)["trained"]
    assert (trained["service"], trained["bins"]) == ("shared", 2 * 4 * 288)
    assert Registry(models).keys() == [SHARED]
    model_store = ModelStore(models, timeout_seconds=60)
    await model_store.refresh()
    series = Series("new", NOW - timedelta(hours=2), timedelta(minutes=5), np.full(24, 7.0))
    (made,) = model_store.forecast(
        {"a": ForecastRequest(SeriesKey("new", METRIC, "Sum"), series, ModelChoice.AUTO, 12)}
    ).values()
    assert made.model == ("LightGBM-shared" if trained["passed"] else "LastValue")
    wrong = await train(migrated_database_url, models, "--shared-only", "--service", "cart")
    assert (wrong.code, "--shared-only trains on all series" in wrong.errors) == (78, True)


async def test_a_named_series_is_trained_in_its_own_aggregation(migrated_database_url: str, tmp_path: Path) -> None:
    await record_demand(migrated_database_url, "checkout", NOW - timedelta(hours=6), NOW, a_day)
    one = ("--service", "checkout", "--metric", METRIC, "--aggregation", "Max")
    ended = await train(migrated_database_url, tmp_path, *one)
    assert ended.code == 0, ended.errors
    assert "checkout/requests_per_second/Max" in ended.output
    assert "LightGBM needs 2 days" in ended.output
    assert Registry(tmp_path).keys() == [SeriesKey("checkout", METRIC, "Max")]


async def test_what_cannot_be_trained_is_said_by_exit_codes(migrated_database_url: str, tmp_path: Path) -> None:
    nothing = await train(migrated_database_url, tmp_path)
    assert (nothing.code, "nothing_to_train" in nothing.errors) == (66, True)
    unknown = await train(migrated_database_url, tmp_path, "--service", "nobody", "--metric", "rps")
    assert unknown.code == 1
    assert "nobody/rps/Sum has 0 bins of demand" in unknown.output
    wrong = await train(migrated_database_url, tmp_path, "--every", "often")
    assert wrong.code == 78
    assert "--every: 'often' is not a duration" in wrong.errors
    assert Registry(tmp_path).keys() == []


async def test_train_every_day_goes_on_until_it_is_told_to_stop(migrated_database_url: str, tmp_path: Path) -> None:
    child = await start(migrated_database_url, tmp_path, "--every", "24h")
    assert child.stderr is not None
    async with asyncio.timeout(120):
        while b"nothing_to_train" not in await child.stderr.readline():
            assert child.returncode is None
    child.terminate()
    assert await asyncio.wait_for(child.wait(), 30) == 0
