"""`predictive-scaling restore`: the operator is stopped first, and runs again after a failure."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

from predictive_scaling.cluster.leadership import Leadership
from predictive_scaling.commands import restore
from predictive_scaling.errors import LeadershipLostError, RestorationIncompleteError
from predictive_scaling.resources.metadata import PolicyKey
from tests.support.cluster import InMemoryCluster
from tests.support.virtual_time import in_virtual_time

DEPLOYMENT = "/apis/apps/v1/namespaces/scaling/deployments/operator/scale"


class ScaledDeployment:
    """The operator's Deployment with two replicas; records what is written to it."""

    def __init__(self) -> None:
        self.written: list[tuple[str, int]] = []

    async def get(self, path: str) -> dict[str, Any]:
        assert path == DEPLOYMENT
        return {"spec": {"replicas": 2}}

    async def merge(self, path: str, body: dict[str, Any]) -> None:
        self.written.append((path, body["spec"]["replicas"]))


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> ScaledDeployment:
    deployment = ScaledDeployment()

    @asynccontextmanager
    async def connected(connections: int) -> AsyncGenerator[ScaledDeployment]:
        assert connections > 0
        yield deployment

    monkeypatch.setattr(restore, "connected", connected)
    monkeypatch.setenv("PREDICTIVE_SCALING_LEASE_NAMESPACE", "scaling")
    return deployment


def ending_with(monkeypatch: pytest.MonkeyPatch, result: int | Exception) -> None:
    async def end(*_: Any) -> int:
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(restore, "_restore_as_leader", end)


def test_the_operator_stays_stopped_after_a_success(
    deployment: ScaledDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending_with(monkeypatch, 3)
    result = CliRunner().invoke(restore.app, ["--operator-deployment", "operator"])
    assert result.exit_code == 0, result.output
    assert "policies whose targets were restored: 3" in result.output
    assert deployment.written == [(DEPLOYMENT, 0)]


@pytest.mark.parametrize("error", [RestorationIncompleteError("two remain"), LeadershipLostError("held")])
def test_the_operator_runs_again_after_a_failure(
    deployment: ScaledDeployment, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    ending_with(monkeypatch, error)
    result = CliRunner().invoke(restore.app, ["--operator-deployment", "operator"])
    assert result.exception is error
    assert deployment.written == [(DEPLOYMENT, 0), (DEPLOYMENT, 2)]


def test_the_operator_runs_again_after_a_signal(deployment: ScaledDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(*_: Any) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(restore, "_restore_as_leader", wait)
    result = CliRunner().invoke(restore.app, ["--operator-deployment", "operator"])
    assert isinstance(result.exception, RestorationIncompleteError)
    assert "stopped by a signal; repeat the command" in str(result.exception)
    assert deployment.written == [(DEPLOYMENT, 0), (DEPLOYMENT, 2)]


def test_nothing_is_stopped_unless_it_is_named(deployment: ScaledDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    ending_with(monkeypatch, RestorationIncompleteError("one remains"))
    CliRunner().invoke(restore.app, [])
    assert deployment.written == []


@in_virtual_time
async def test_a_lease_that_stays_held_is_named_with_the_remedy() -> None:
    leadership = Leadership(InMemoryCluster(), "scaling", "predictive-scaling")
    with pytest.raises(LeadershipLostError, match=r"scaling/predictive-scaling was not free within 30 s: stop the"):
        await restore._wait_for_lease(leadership, 30.0)  # pyright: ignore[reportPrivateUsage]


def test_failures_are_listed_up_to_a_limit() -> None:
    failures = {PolicyKey("shop", f"policy-{number:03}"): "a webhook refuses it" for number in range(100)}
    text = restore._describe(failures)  # pyright: ignore[reportPrivateUsage]
    assert text.startswith("100 policies still hold their targets; correct the causes and repeat the command:")
    assert "shop/policy-000: a webhook refuses it" in text
    assert text.endswith("and 80 more")
