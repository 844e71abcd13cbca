"""Training on a Dask cluster of two worker processes gives the same models; without a cluster the error is clear."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster, Scheduler
from typer.testing import CliRunner

from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.series import Series
from predictive_scaling.__main__ import app
from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import DaskUnavailableError, SettingsError
from predictive_scaling.models.loading import check
from predictive_scaling.models.manifest import Manifest
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.stack.ports import free_port
from predictive_scaling.training.backends import TrainingBackend, connected
from predictive_scaling.training.trainer import Trainer
from tests.support.demand_series import a_series

pytestmark = pytest.mark.integration

KEYS = [SeriesKey(f"service-{number}", "rps", "Sum") for number in range(3)]
NOW = datetime(2026, 11, 16, tzinfo=UTC)
SMALL_MODEL = LightGBMQuantiles(rounds=8, rows=2000, peak_rows=2000, peak_rounds=8)
ANY_PORT = "127.0.0.1:0"
"""The dashboard's address; its default port may be in use by another cluster."""


@dataclass
class History:
    """Recorded demand, different for each series."""

    requested: list[SeriesKey] = field(default_factory=list[SeriesKey])

    async def keys(self, since: datetime) -> list[SeriesKey]:
        return KEYS

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        self.requested.append(key)
        return replace(a_series(days=5, seed=KEYS.index(key)), name=str(key))

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        return frozenset({"match"})


@pytest.fixture(scope="module")
async def cluster() -> AsyncGenerator[Any]:
    """Two processes on loopback with one thread each."""
    async with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=ANY_PORT,
        asynchronous=True,
    ) as cluster:
        yield cluster


async def trained(folder: Path, learner: TrainingBackend | None) -> dict[SeriesKey, Manifest]:
    registry, clock = Registry(folder), ManualClock(NOW)
    trainer = Trainer(History(), registry, clock, SMALL_MODEL, timedelta(days=60), backend=learner)
    manifests: dict[SeriesKey, Manifest] = {}
    for key in KEYS:
        version = (await trainer.train(key)).version
        manifests[key] = check(registry.path(key.slug, version)).manifest
    return manifests


async def test_a_cluster_trains_the_same_models_as_one_process(cluster: Any, tmp_path: Path) -> None:
    local_manifests = await trained(tmp_path / "local", None)
    async with connected(cluster.scheduler_address) as dask:
        assert dask.threads == 2
        dask_manifests = await trained(tmp_path / "dask", dask)
    for key in KEYS:
        assert dask_manifests[key].gate.acting == local_manifests[key].gate.acting
        assert dask_manifests[key].event_types == ("match",)
        for dask_score, local_score in zip(
            dask_manifests[key].gate.scores, local_manifests[key].gate.scores, strict=True
        ):
            numbers = [[score.wape, score.mape, score.cost, score.coverage] for score in (dask_score, local_score)]
            np.testing.assert_allclose(*np.array(numbers, dtype=float), rtol=0.02, err_msg=f"{key} {dask_score.model}")


async def test_series_are_trained_concurrently(cluster: Any) -> None:
    before = await _executed_tasks(cluster)
    async with connected(cluster.scheduler_address) as dask:
        await asyncio.gather(*(dask.learn(a_series(days=5, seed=seed), SMALL_MODEL, None) for seed in range(4)))
    after = await _executed_tasks(cluster)
    assert sum(after.values()) - sum(before.values()) == 4
    assert all(after[worker] > before[worker] for worker in after), "each of the two workers trained some series"


async def _executed_tasks(cluster: Any) -> dict[str, int]:
    """Return the number of executed tasks by worker."""

    def count(dask_worker: Any) -> int:
        return int(dask_worker.state.executed_count)

    async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
        counts: Any = client.run(count)
        return await counts


async def test_an_unreachable_scheduler_is_named() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(DaskUnavailableError, match=f"no Dask scheduler answers at {address} within 1 s"):
        async with connected(address, wait_seconds=1):
            pass


async def test_a_cluster_without_workers_is_refused() -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=ANY_PORT) as scheduler:
        with pytest.raises(DaskUnavailableError, match="has no worker; start one, then train again"):
            async with connected(scheduler.address, wait_seconds=5):
                pass


@pytest.mark.parametrize("address", ["carrier-pigeon://scheduler:1", "tcp://"])
async def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises((SettingsError, DaskUnavailableError), match=address):
        async with connected(address, wait_seconds=1):
            pass


async def test_without_the_package_the_error_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SettingsError, match=r"pip install 'predictive-scaling\[dask\]'"):
        async with connected("tcp://127.0.0.1:8786"):
            pass


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("PREDICTIVE_SCALING_MODELS_DIR", str(tmp_path))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["train", *arguments])
        return f"{result.exit_code} {result.exception} {result.output}"

    return run


def test_rollback_and_training_exclude_each_other(command: Callable[..., str]) -> None:
    assert "--rollback trains nothing" in command("--rollback", "checkout", "--dask", "tcp://127.0.0.1:1")
    assert "checkout has no model in" in command("--rollback", "checkout")
