"""The operator as users run it: a separate process, killed and stopped by pid."""

import json
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.rights import cluster_role
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.operator_account import operator_kubeconfig
from predictive_scaling.stack.ports import free_ports
from tests.support.api_process import PLAIN_HTTP
from tests.support.eventually import eventually, exit_code
from tests.support.forked_program import ForkedProgram, start_program
from tests.support.kubectl import Kubectl, wait_for_rights

LEASE_NAMESPACE = "default"
SHORT_LEASE = {"LEASE_DURATION": "20s"}
"""A setting for tests that wait until the lease expires."""
NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)
"""Start of the operators' clocks, a Wednesday."""


@dataclass
class OperatorProcess:
    """One operator process, which can be killed and started again."""

    kubeconfig: Path
    database_url: str
    clock: Clock
    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Further settings, without the prefix."""
    port: int = field(default_factory=lambda: free_ports(1)[0])
    lease: str = field(default_factory=lambda: f"test-{os.urandom(4).hex()}")
    prepare: Callable[[], None] | None = None
    """Called in the process before the operator starts."""
    _process: ForkedProgram | None = None

    @property
    def log(self) -> str:
        """The log of all its runs; empty before the first."""
        file = self.folder / "operator.log"
        return file.read_text() if file.exists() else ""

    @property
    def missing_rights(self) -> list[str]:
        """The lines of the log about requests that RBAC does not allow."""
        signs = ("is forbidden: User", "Not enough permissions")
        return [line for line in self.log.splitlines() if any(sign in line for sign in signs)]

    def log_entries(self) -> list[dict[str, Any]]:
        """Return the log of all its runs as fields; lines of other programs are left out."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]

    async def start(self, **environment: str) -> None:
        """Start it and wait until it responds. environment: for this start only."""
        variables = {**os.environ, **self._environment(), **environment}
        log = self.folder / "operator.log"
        self._process = start_program("operator", environment=variables, output=log, prepare=self.prepare)
        state = await eventually(self._liveness_or_exit, seconds=60)
        assert state == "live", f"the operator exited:\n{self.log[-3000:]}"

    async def start_after_crash(self, kubectl: Kubectl, **environment: str) -> None:
        """Start it without waiting for the Lease of the killed process to expire, which the take-over test does."""
        await Kubectl(kubectl.program, kubectl.kubeconfig, LEASE_NAMESPACE)("delete", "lease", self.lease)
        await self.start(**environment)

    async def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        return await self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Send SIGSTOP: it does nothing until `thaw`, as on a node that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Send SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> int:
        """Send SIGKILL and return the exit code."""
        return await self._end(signal.SIGKILL)

    async def wait_for_exit(self, seconds: float = 60.0) -> int:
        """Wait until it exits without a signal of the test, and return its exit code."""
        assert self._process is not None
        return await exit_code(self._process, seconds)

    @property
    def pid(self) -> int:
        """The process id of the running operator."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def metrics(self) -> str:
        """Return the text of its metrics endpoint."""
        async with httpx.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=120) as client:
            return (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text

    async def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        sample = re.search(rf"^{name} (\S+)$", await self.metrics(), re.MULTILINE)
        assert sample is not None, f"the operator has no metric {name}"
        return float(sample[1])

    async def is_leader(self) -> bool:
        """Return whether it is the leader."""
        return await self.metric("predictive_scaling_leader") == 1

    async def wait_for_ticks(self, count: int) -> None:
        """Wait until it has reconciled all policies `count` more times, each within 30 s."""
        name = "predictive_scaling_tick_seconds_count"
        finished = await self.metric(name)
        expected = finished + count
        while finished < expected:
            finished = await eventually(lambda: self.metric(name), finished.__lt__, seconds=30)

    async def _liveness_or_exit(self) -> str:
        async with httpx.AsyncClient(trust_env=False, verify=PLAIN_HTTP) as client:
            try:
                response = await client.get(f"http://127.0.0.1:{self.port}/health/live")
            except httpx.TransportError:
                return "" if self.is_running else "exited"
        return "live" if response.is_success else ""

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        return await exit_code(process, 40)

    def _environment(self) -> dict[str, str]:
        settings = {
            "CLOCK": str(self.clock),
            "HOST": "127.0.0.1",
            "OPERATOR_PORT": str(self.port),
            "MODELS_DIR": str(self.folder / "models"),
            "LEASE_NAMESPACE": LEASE_NAMESPACE,
            "LEASE_NAME": self.lease,
            # A starved machine may renew it late; tests of a lost or expired lease shorten it.
            "LEASE_DURATION": "120s",
            "TRAIN_FROM_OPERATOR": "false",
            # The clock runs a minute a second, but the controllers take as long as in real time.
            "VERIFICATION_PATIENCE": "40",
            **self.settings,
        }
        prefixed = {f"PREDICTIVE_SCALING_{name}": value for name, value in settings.items()}
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "DATABASE_URL": self.database_url,
            "OMP_NUM_THREADS": "1",
            **prefixed,
        }


@asynccontextmanager
async def running(operator: OperatorProcess) -> AsyncGenerator[OperatorProcess]:
    """Start the operator, and kill it at the end if it still runs; then it must not have lacked a right."""
    await operator.start()
    try:
        yield operator
    finally:
        if operator.is_running:
            await operator.kill()
    assert not operator.missing_rights


async def kubeconfig_of_cluster_role(cluster: Kubernetes, namespaces: Sequence[str] = ()) -> Path:
    """Return the kubeconfig of a ServiceAccount that has the rights of config/cluster-role.yaml and no others.

    namespaces: the rights apply there and in that of the Lease only; without any, in the cluster.
    """
    if not namespaces:
        return await operator_kubeconfig(cluster, LEASE_NAMESPACE, "operator")
    role, name = cluster_role(), namespaces[0]
    await cluster.apply([role], "cluster-role")
    await cluster.kubectl("create", "serviceaccount", name, "-n", LEASE_NAMESPACE)
    rights = f"--clusterrole={role['metadata']['name']}", f"--serviceaccount={LEASE_NAMESPACE}:{name}"
    for namespace in (LEASE_NAMESPACE, *namespaces):
        await cluster.kubectl("create", "rolebinding", name, *rights, "-n", namespace)
    kubeconfig = await cluster.kubeconfig_of(LEASE_NAMESPACE, name)
    for namespace in (LEASE_NAMESPACE, *namespaces):
        await wait_for_rights(Kubectl(cluster.kubectl_program, kubeconfig, namespace), "pods")
    return kubeconfig
