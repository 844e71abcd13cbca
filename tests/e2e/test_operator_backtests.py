"""A ScalingBacktest as a pipeline uses it: created, waited for and read with kubectl, while the operator is killed."""

import json
import os
import signal
from datetime import timedelta
from math import pi, sin
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.resources.metadata import API_VERSION
from tests.support.api_services import api_client, api_services
from tests.support.demand import record_demand
from tests.support.eventually import eventually
from tests.support.gitops_states import assert_state
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_scaling_policy
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.e2e


def a_backtest(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "ScalingBacktest", "metadata": {"name": name}, "spec": spec}


def workers_of(parent: int) -> list[int]:
    """Return the process ids of the backtests that a process runs."""
    pids: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, stat = (folder / "cmdline").read_text(), (folder / "stat").read_text()
        except OSError:
            continue
        if "backtesting.worker" in command and int(stat.rpartition(")")[2].split()[1]) == parent:
            pids.append(int(folder.name))
    return pids


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_backtest_survives_the_operator_and_shows_its_result(
    own_operator: OperatorProcess, kubectl: Kubectl
) -> None:
    now = own_operator.clock.now()
    begin = now - timedelta(days=2.5)  # a little more than a model needs
    await record_demand(
        own_operator.database_url,
        "checkout",
        begin,
        now,
        lambda at: 300 + 200 * sin((at - begin) / timedelta(days=1) * 2 * pi) + 400 * (at.hour == 20),
        interval=timedelta(minutes=5),
    )
    demand = {"metric": "requests_per_second", "perReplica": "50"}
    await kubectl.apply(a_scaling_policy("checkout", mode="Recommend", demand=demand))
    await own_operator.start()

    async def status() -> dict[str, Any]:
        return (await kubectl.get("sb", "release")).get("status", {})

    backtest = a_backtest("release", policy="checkout", quantiles=["0.95"])
    await kubectl("create", "-f", "-", stdin=json.dumps(backtest))
    await kubectl.apply(a_backtest("mistaken", policy="nobody"))
    (worker,) = await eventually(lambda: _workers(own_operator.pid), seconds=60, interval_seconds=0.05)
    # It must not finish before the operator is killed.
    os.kill(worker, signal.SIGSTOP)
    first = await eventually(status, lambda shown: shown.get("phase") == "Running", seconds=60)
    assert_state("running", await kubectl.get("sb", "release"))

    async def is_below_the_operator() -> bool:
        return os.getpriority(os.PRIO_PROCESS, worker) > os.getpriority(os.PRIO_PROCESS, own_operator.pid)

    # The operator lowers the priority just after the start.
    await eventually(is_below_the_operator)
    await own_operator.kill()
    os.kill(worker, signal.SIGCONT)
    await eventually(lambda: _is_gone(worker), seconds=30)
    assert (await status())["phase"] == "Running"

    await own_operator.start_after_crash(kubectl)
    ended = await eventually(status, lambda shown: shown.get("phase") in ("Succeeded", "Failed"), seconds=240)
    assert_state("succeeded", await kubectl.get("sb", "release"))
    assert (ended["phase"], ended["attempts"], ended["span"]) == ("Succeeded", 2, first["span"]), ended["message"]
    assert "condition met" in await kubectl("wait", "--for=condition=Complete", "sb/release")
    rows = {row["variant"]: row for row in ended["rows"]}
    assert {"HpaAlone", "Policy", "Quantile", "Oracle"} <= rows.keys()
    assert (rows["HpaAlone"]["hoursRatio"], rows["Quantile"]["quantile"]) == ("1", "0.95")
    assert float(rows["Policy"]["replicaHours"]) > 0
    assert "min short (HPA " in await kubectl("get", "sb", "release")

    assert "condition met" in await kubectl("wait", "--for=condition=Failed", "sb/mistaken")
    message = (await kubectl.get("sb", "mistaken"))["status"]["message"]
    assert f"ScalingPolicy {kubectl.namespace}/nobody does not exist" in message

    async with api_services(own_operator.database_url) as services, api_client(services) as client:

        async def report_status() -> int:
            return (await client.get(ended["report"])).status_code

        await eventually(report_status, lambda code: code == 200)
        report = (await client.get(ended["report"])).text
        assert "the policy at p95" in report

        async def phases() -> dict[str, str]:
            listed = (await client.get(f"/api/v1/backtests?namespace={kubectl.namespace}")).json()["backtests"]
            return {item["name"]: item["phase"] for item in listed}

        await eventually(phases, lambda shown: shown == {"mistaken": "Failed", "release": "Succeeded"})
        await kubectl("delete", "sb", "release")
        await eventually(report_status, lambda code: code == 404)


async def _workers(parent: int) -> list[int]:
    return workers_of(parent)


async def _is_gone(pid: int) -> bool:
    return not is_running(pid)
