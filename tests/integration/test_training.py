"""`train` as a process, as users and the operator run it, against a real database."""

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import pi, sin
from pathlib import Path

import numpy as np
import pytest

from forecasting.forecaster import ModelChoice
from forecasting.series import Series
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SHARED, SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore
from tests.support.demand import METRIC, record_demand
from tests.support.eventually import exit_code
from tests.support.forked_program import start_program
from tests.support.small_training import train_small_models

pytestmark = pytest.mark.integration
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
KEY = SeriesKey("checkout", METRIC, "Sum")


@dataclass(frozen=True, slots=True)
class Completed:
    code: int
    output: str
    errors: str


def environment(url: str, models: Path) -> dict[str, str]:
    # The clock shows NOW all the time, because its origin is far in the future.
    return {
        **os.environ,
        "DATABASE_URL": url,
        "PREDICTIVE_SCALING_MODELS_DIR": str(models),
        "PREDICTIVE_SCALING_CLOCK": f"{NOW.isoformat()},1e12,1",
        "PREDICTIVE_SCALING_TRAINER_PORT": "0",
        "OMP_NUM_THREADS": "1",
    }


async def train(url: str, models: Path, *arguments: str) -> Completed:
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        process = start_program(
            *("train", *arguments),
            environment=environment(url, models),
            output=output,
            errors=errors,
            prepare=train_small_models,
        )
        return Completed(await exit_code(process, 150), output.read_text(), errors.read_text())


def daily_demand(at: datetime) -> float:
    return 100 + 60 * sin((at.hour + at.minute / 60) / 12 * pi) + (at.minute * 7 + at.hour * 3) % 11


async def test_train_publishes_a_model_that_the_model_store_loads(migrated_database_url: str, tmp_path: Path) -> None:
    await record_demand(
        migrated_database_url, "checkout", NOW - timedelta(days=4), NOW, daily_demand, timedelta(minutes=5)
    )
    completed = await train(migrated_database_url, tmp_path / "models", "--output", "json")
    assert (completed.code, json.loads(completed.output)["failed"]) == (0, []), completed.errors
    (trained,) = json.loads(completed.output)["trained"]
    assert (trained["service"], trained["metric"], trained["aggregation"]) == ("checkout", METRIC, "Sum")
    assert trained["bins"] == 4 * 288
    assert trained["acting"] in trained["evidence"]
    model_store = ModelStore(tmp_path / "models", timeout_seconds=60)
    (reloaded,) = (await model_store.refresh()).reloaded
    assert (reloaded.key, reloaded.version) == (KEY, trained["version"])


async def test_a_shared_model_of_several_series_serves_a_new_series(migrated_database_url: str, tmp_path: Path) -> None:
    since, models = NOW - timedelta(days=4), tmp_path / "models"
    for number, service in enumerate(("checkout", "cart")):

        def demand(at: datetime, number: int = number) -> float:
            return daily_demand(at) * 10**number

        await record_demand(migrated_database_url, service, since, NOW, demand, timedelta(minutes=5))
    completed = await train(migrated_database_url, models, "--shared-only", "--output", "json")
    assert (completed.code, json.loads(completed.output)["failed"]) == (0, []), completed.errors
    (trained,) = json.loads(completed.output)["trained"]
    assert (trained["service"], trained["bins"]) == ("shared", 2 * 4 * 288)
    assert Registry(models).keys() == [SHARED]
    model_store = ModelStore(models, timeout_seconds=60)
    await model_store.refresh()
    series = Series("new", NOW - timedelta(hours=2), timedelta(minutes=5), np.full(24, 7.0))
    (forecast,) = model_store.forecast(
        {"a": ForecastRequest(SeriesKey("new", METRIC, "Sum"), series, ModelChoice.AUTO, 12)}
    ).values()
    assert forecast.model == ("LightGBM-shared" if trained["passed"] else "LastValue")
    invalid = await train(migrated_database_url, models, "--shared-only", "--service", "cart")
    assert (invalid.code, "--shared-only trains on all series" in invalid.errors) == (78, True)


async def test_a_named_series_is_trained_in_the_given_aggregation(migrated_database_url: str, tmp_path: Path) -> None:
    await record_demand(migrated_database_url, "checkout", NOW - timedelta(hours=6), NOW, daily_demand)
    arguments = ("--service", "checkout", "--metric", METRIC, "--aggregation", "Max")
    completed = await train(migrated_database_url, tmp_path, *arguments)
    assert completed.code == 0, completed.errors
    assert "checkout/requests_per_second/Max" in completed.output
    assert "LightGBM needs 2 days" in completed.output
    assert Registry(tmp_path).keys() == [SeriesKey("checkout", METRIC, "Max")]


async def test_train_errors_have_distinct_exit_codes(migrated_database_url: str, tmp_path: Path) -> None:
    empty = await train(migrated_database_url, tmp_path)
    assert (empty.code, "nothing_to_train" in empty.errors) == (66, True)
    unknown = await train(migrated_database_url, tmp_path, "--service", "nobody", "--metric", "rps")
    assert unknown.code == 1
    assert "nobody/rps/Sum has 0 bins of demand" in unknown.output
    invalid = await train(migrated_database_url, tmp_path, "--every", "often")
    assert invalid.code == 78
    assert "--every: 'often'" in invalid.errors
    assert Registry(tmp_path).keys() == []


async def test_train_every_day_runs_until_sigterm(migrated_database_url: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "predictive_scaling", "train", "--every", "24h"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(migrated_database_url, tmp_path),
    )
    assert process.stderr is not None
    async with asyncio.timeout(600):
        while b"nothing_to_train" not in await process.stderr.readline():
            assert process.returncode is None
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 240) == 0
