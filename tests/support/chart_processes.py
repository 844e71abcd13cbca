"""Runs the processes of the chart as their pods say, as a kubelet would: arguments, environment, files of Secrets."""

import base64
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.ports import free_ports
from tests.support.api_process import PLAIN_HTTP
from tests.support.eventually import eventually, exit_code
from tests.support.forked_program import ForkedProgram, start_program
from tests.support.helm import NAMESPACE, Object, environment, secret_files
from tests.support.kubectl import Kubectl


async def get_json(cluster: Kubernetes, *arguments: str, namespace: str = NAMESPACE) -> Any:
    """Return what `kubectl get … -o json` prints."""
    return json.loads(await cluster.kubectl("-n", namespace, "get", *arguments, "-o", "json"))


@asynccontextmanager
async def running(
    cluster: Kubernetes, component: str, template: Object, folder: Path, node: Mapping[str, str], path: str
) -> AsyncGenerator[None]:
    """Run the process of a pod template on a free port; `path` responds with 200 on entry.

    node: variables that stand for what a node provides. The output goes to `log` in `folder`.
    """
    (port,) = free_ports(1)
    listener = {f"PREDICTIVE_SCALING_{component.upper()}_PORT": str(port), "PREDICTIVE_SCALING_HOST": "127.0.0.1"}
    # A starved machine may renew the lease late.
    lease = {"PREDICTIVE_SCALING_LEASE_DURATION": "120s"}
    process = await _start(cluster, NAMESPACE, template, folder, {**node, **listener, **lease})

    async def responds() -> bool:
        assert process.returncode is None, (folder / "log").read_text()
        async with httpx.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=120) as client:
            try:
                return (await client.get(f"http://127.0.0.1:{port}{path}")).is_success
            except httpx.TransportError:
                return False

    try:
        await eventually(responds, seconds=60)
        yield
        process.terminate()
        assert await exit_code(process) == 0, (folder / "log").read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def account_of(cluster: Kubernetes, spec: Object, namespace: str = NAMESPACE) -> dict[str, str]:
    """Return the variables with which a process acts as the ServiceAccount of a pod, in the pod's namespace.

    spec: of the pod. Nothing is returned for a pod without a token.
    """
    if not spec["automountServiceAccountToken"]:
        return {}
    kubeconfig = await cluster.kubeconfig_of(namespace, spec["serviceAccountName"])
    return {"KUBECONFIG": str(kubeconfig), "PREDICTIVE_SCALING_LEASE_NAMESPACE": namespace}


async def run_job(cluster: Kubernetes, component: str, folder: Path, namespace: str = NAMESPACE) -> str:
    """Run the process of the pod of a Job, report its end to the API server, and return its output."""
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, namespace)

    async def running_pods() -> list[Object]:
        pods = [pod for pod in await kubectl.items("pods") if pod["status"]["phase"] == "Running"]
        return [pod for pod in pods if pod["metadata"]["labels"].get("app.kubernetes.io/component") == component]

    (pod,) = await eventually(running_pods, seconds=60)
    process = await _start(cluster, namespace, pod, folder, await account_of(cluster, pod["spec"], namespace))
    phase = "Failed" if await exit_code(process) else "Succeeded"
    patch = json.dumps({"status": {"phase": phase}})
    name = pod["metadata"]["name"]
    await cluster.kubectl("-n", namespace, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
    return (folder / "log").read_text()


async def _start(
    cluster: Kubernetes, namespace: str, template: Object, folder: Path, node: Mapping[str, str]
) -> ForkedProgram:
    secrets = folder / "secrets"
    secrets.mkdir(parents=True)
    for name, (secret, key) in secret_files(template).items():
        data = (await get_json(cluster, "secret", secret, namespace=namespace))["data"]
        (secrets / name).write_bytes(base64.b64decode(data[key]))
    (container,) = template["spec"]["containers"]
    pod = {**environment(template), "PREDICTIVE_SCALING_SECRETS_DIR": str(secrets)}
    return start_program(*container["args"], environment={**os.environ, **pod, **node}, output=folder / "log")
