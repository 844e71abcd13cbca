"""The real kube-state-metrics with the chart's configuration and rights, on a real API server."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.ports import free_ports
from predictive_scaling.stack.processes import Child, answers
from tests.support.eventually import eventually
from tests.support.gitops_states import STATES, recorded_object
from tests.support.go_programs import KUBE_STATE_METRICS
from tests.support.helm import Helm, named
from tests.support.kube_state_metrics import families
from tests.support.kubectl import Kubectl

pytestmark = pytest.mark.e2e

ACCOUNT = "kube-state-metrics"
NAME = "predictive-scaling-kube-state-metrics"
ITS_OWN_LABELS = {f"customresource_{part}" for part in ("group", "version", "kind")}
"""Those that kube-state-metrics adds to each series of a custom resource."""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def configuration(cluster: Kubernetes, namespace: str, helm: Helm) -> AsyncGenerator[str]:
    """The configuration that the chart renders, and the rights that it gives the account, for the time of the test."""
    values = {"kubeStateMetrics": {"enabled": True, "serviceAccount": {"name": ACCOUNT, "namespace": namespace}}}
    objects = await helm.template(values)
    role = named(objects, "ClusterRole", f"scaling-{NAME}")
    binding = named(objects, "ClusterRoleBinding", f"scaling-{NAME}")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}}
    await cluster.apply([role, binding, account], ACCOUNT)
    yield named(objects, "ConfigMap", NAME)["data"]["config.yaml"]
    await cluster.kubectl("delete", "clusterrole,clusterrolebinding", f"scaling-{NAME}")


async def create(kubectl: Kubectl, kind: str, state: str) -> dict[str, Any]:
    """Create a recorded object with its status, and return it as the API server has it."""
    body = recorded_object(kind, state)
    metadata = {"name": state.replace("_", "-"), "namespace": kubectl.namespace}
    created = json.loads(
        await kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps(body | {"metadata": metadata}))
    )
    if "status" not in body:
        return created
    patch = json.dumps({"status": body["status"]})
    name = f"{kind.lower()}/{metadata['name']}"
    return json.loads(await kubectl("patch", name, "--subresource=status", "--type=merge", "-o", "json", "-p", patch))


def expected_series(configuration: str, bodies: list[dict[str, Any]]) -> Series:
    """Return the series of objects by the rules that the unit tests of the configuration apply."""
    return {
        (family.name, frozenset(labels.items())): value
        for family in families(yaml.safe_load(configuration))
        for body in bodies
        if family.kind == body["kind"]
        for labels, value in family.series(body)
    }


async def served_series(port: int, namespace: str) -> Series:
    """Return the series of the objects of a namespace that kube-state-metrics serves."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).raise_for_status().text
    return {
        (
            sample.name,
            frozenset((name, value) for name, value in sample.labels.items() if name not in ITS_OWN_LABELS),
        ): (sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("namespace") == namespace
    }


async def test_it_serves_objects_of_every_state_as_the_configuration_says(
    cluster: Kubernetes, namespace: str, kubectl: Kubectl, configuration: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(configuration)
    bodies = [await create(kubectl, kind, state) for kind, state in STATES]
    port, own_port = free_ports(2)
    process = Child(
        "kube-state-metrics",
        [
            await KUBE_STATE_METRICS.folder() / "kube-state-metrics",
            f"--kubeconfig={await cluster.kubeconfig_of(namespace, ACCOUNT)}",
            f"--custom-resource-state-config-file={tmp_path / 'config.yaml'}",
            "--custom-resource-state-only",
            *("--host=127.0.0.1", f"--port={port}", "--telemetry-host=127.0.0.1", f"--telemetry-port={own_port}"),
        ],
        tmp_path / "log",
        answers(f"http://127.0.0.1:{port}/healthz"),
    )
    await process.start()
    try:
        expected = expected_series(configuration, bodies)
        assert len(expected) > 500
        served = await eventually(lambda: served_series(port, namespace), expected.__eq__, seconds=60)
        assert served.items() ^ expected.items() == set()
    finally:
        await process.stop()
    assert "forbidden" not in (tmp_path / "log").read_text()
