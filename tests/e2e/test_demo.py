import asyncio
import contextlib
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from predictive_scaling.stack.demo.manifests import (
    HPA_ONLY,
    NAMESPACE,
    PREDICTIVE,
    Pace,
    deployment_with_hpa,
    event,
    namespace,
    policy,
)
from predictive_scaling.stack.demo.observe import observing
from predictive_scaling.stack.demo.scenario import make_scenario
from predictive_scaling.stack.demo.workload import generated_workload
from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually

pytestmark = pytest.mark.e2e

NOW = datetime(2026, 5, 21, 14, tzinfo=UTC)


async def test_the_api_server_accepts_the_manifests_and_the_demo_observes_both_deployments(cluster: Kubernetes) -> None:
    scenario = make_scenario(generated_workload())
    await cluster.apply([namespace()], "demo-namespace")
    workloads = [part for name in (HPA_ONLY, PREDICTIVE) for part in deployment_with_hpa(name, scenario, Pace(100))]
    events = [event(match) for match in (scenario.earlier[-1], *scenario.matches)]
    await cluster.apply([*workloads, policy(scenario), *events], "demo")
    raised = '{"spec": {"minReplicas": 6}}'
    await cluster.kubectl("-n", NAMESPACE, "patch", "hpa", PREDICTIVE, "--type=merge", "-p", raised)
    async with observing(cluster.kubeconfig, "http://127.0.0.1:9") as observer:
        observation = await eventually(
            lambda: observer.observe(NOW, 1.0),
            lambda observation: (observation.predictive.ready, observation.hpa_only.ready) == (6, 1),
        )
        assert (observation.predictive.minimum, observation.predictive.existing) == (6, 6)
        assert (observation.hpa_only.minimum, observation.hpa_only.existing) == (1, 1)
        assert not await observer.hpas_read_metric()
    await cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


async def test_ctrl_c_ends_all_processes_and_removes_the_folder(open_folder: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "predictive_scaling", "demo", "--output", open_folder / "out"),
        env={**os.environ, "TMPDIR": str(open_folder)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert demo.stderr is not None
    try:
        output = ""
        async with asyncio.timeout(600):
            while "the cluster serves" not in output:
                line = await demo.stderr.readline()
                assert line, output
                output += line.decode()
        (folder,) = stack_folders(open_folder)
        assert len(processes_with(str(folder))) > 3
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(360):
            _, remaining_output = await demo.communicate()
        assert demo.returncode == 130, remaining_output.decode()
        assert processes_with(str(folder)) == []
        assert stack_folders(open_folder) == []
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()


def stack_folders(temporary: Path) -> list[Path]:
    """Return the folders of running stacks."""
    return list(temporary.glob("predictive-scaling-stack-*"))


def processes_with(text: str) -> list[str]:
    """Return the command lines of running processes that contain `text`."""
    lines = list[str]()
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end meanwhile.
        with contextlib.suppress(OSError):
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line]
