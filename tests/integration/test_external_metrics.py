"""External metrics through the real aggregation layer to the real HPA controller."""

import json
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.clock import ManualClock, WallClock
from predictive_scaling.external_metrics.documents import GROUP, VERSION
from predictive_scaling.external_metrics.registration import API_SERVICE, ServiceReference, api_service
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import (
    AUTHENTICATION_CONFIG_MAP,
    AggregatorTrust,
    ServingFiles,
    read_trust,
)
from predictive_scaling.external_metrics.values import ExternalMetricStore, Reading
from predictive_scaling.stack.certificates import new_authority
from predictive_scaling.stack.kubelets import NODE
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.ports import LOOPBACK
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, KubectlError
from tests.support.manifests import a_deployment

pytestmark = pytest.mark.integration

SERVICE = "scaling-metrics"
NOW = datetime(1998, 7, 3, 13, 0, tzinfo=UTC)


@dataclass
class Serving:
    """The metrics server, registered with the cluster."""

    server: ExternalMetricsServer
    store: ExternalMetricStore
    clock: ManualClock
    files: ServingFiles
    trust: AggregatorTrust

    def publish(self, kubectl: Kubectl, demand: float, policy: str = "checkout") -> None:
        reading = Reading(demand, self.clock.now(), self.clock.now() + timedelta(minutes=5))
        self.store.publish(kubectl.namespace, policy, policy, demand=reading, forecast=reading)


@pytest.fixture(scope="module")
async def serving(cluster: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    namespace, name = AUTHENTICATION_CONFIG_MAP
    config_map = json.loads(await cluster.kubectl("get", "configmap", name, "-n", namespace, "-o", "json"))
    issued = cluster.serving_certificate(SERVICE, "default")
    files = ServingFiles(folder / "tls.crt", folder / "tls.key")
    shutil.copy(issued.certificate, files.certificate)
    shutil.copy(issued.key, files.key)
    store, clock = ExternalMetricStore(), ManualClock(NOW)
    trust = read_trust(config_map["data"])
    server = ExternalMetricsServer(
        store, clock, files, trust, host=LOOPBACK, port=0, reload_interval=timedelta(milliseconds=200)
    )
    async with server:
        await cluster.serve_api(GROUP, VERSION, SERVICE, "default", server.port)
        await cluster.kubectl("wait", "--for=condition=Available", "--timeout=300s", f"apiservice/{API_SERVICE}")
        running = Serving(server, store, clock, files, trust)
        yield running
        await running.server.stop()
    await cluster.kubectl("delete", "apiservice", API_SERVICE)
    await cluster.kubectl("delete", "service", SERVICE, "-n", "default")


async def test_kubectl_reads_the_metrics(serving: Serving, kubectl: Kubectl) -> None:
    serving.publish(kubectl, 1234.5)
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{kubectl.namespace}/predictive-scaling-forecast"
    body = json.loads(await kubectl("get", "--raw", f"{path}?labelSelector=policy%3Dcheckout"))
    assert body["items"][0]["value"] == "1234500m"
    with pytest.raises(KubectlError, match=r"no ScalingPolicy in namespace .* is selected"):
        await kubectl("get", "--raw", f"{path}?labelSelector=policy%3Dcart")
    with pytest.raises(KubectlError, match="labelSelector: cannot read"):
        await kubectl("get", "--raw", f"{path}?labelSelector=%3D")
    resources = await kubectl("get", "--raw", f"/apis/{GROUP}/{VERSION}")
    assert "predictive-scaling-demand" in resources


async def test_an_hpa_follows_the_demand(serving: Serving, kubectl: Kubectl) -> None:
    serving.publish(kubectl, 700)
    serving.publish(kubectl, 5000, "cart")
    await kubectl.apply(a_served_deployment(), an_autoscaler())
    await wait_for_replicas(kubectl, 7)
    serving.publish(kubectl, 250)
    await wait_for_replicas(kubectl, 3)


async def test_stale_demand_sets_a_condition_and_keeps_the_replicas(serving: Serving, kubectl: Kubectl) -> None:
    serving.publish(kubectl, 700)
    await kubectl.apply(a_served_deployment(), an_autoscaler())
    await wait_for_replicas(kubectl, 7)
    serving.clock.advance(timedelta(minutes=5))
    scaling_active = await eventually(
        lambda: condition(kubectl, "ScalingActive"), lambda condition: condition["status"] == "False"
    )
    assert scaling_active["reason"] == "FailedGetExternalMetric"
    for fragment in (f"{kubectl.namespace}/checkout", "stale"):
        assert fragment in scaling_active["message"]
    assert (await kubectl.get("deployment", "web"))["spec"]["replicas"] == 7
    serving.publish(kubectl, 400)
    await wait_for_replicas(kubectl, 4)


async def test_rotating_the_authority_and_the_certificate_interrupts_nothing(
    serving: Serving, cluster: Kubernetes, kubectl: Kubectl, tmp_path: Path
) -> None:
    serving.publish(kubectl, 700)
    await kubectl.apply(a_served_deployment(), an_autoscaler())
    await wait_for_replicas(kubectl, 7)
    new_ca = new_authority(tmp_path, "next-ca", WallClock().now())
    renewed = new_ca.issue(f"{SERVICE}.default.svc", "next", [f"{SERVICE}.default.svc"])
    # Trust both authorities, serve the new certificate, then drop the old authority, as cert-manager's users do.
    await set_ca_bundle(kubectl, cluster.ca_file.read_bytes() + new_ca.file.read_bytes())
    shutil.copy(renewed.certificate, serving.files.certificate)
    shutil.copy(renewed.key, serving.files.key)
    await set_ca_bundle(kubectl, new_ca.file.read_bytes())
    serving.publish(kubectl, 300)
    await wait_for_replicas(kubectl, 3)
    await kubectl("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}")
    serving.publish(kubectl, 500)
    await wait_for_replicas(kubectl, 5)


async def test_a_stopped_server_makes_the_api_service_unavailable_until_it_restarts(
    serving: Serving, kubectl: Kubectl
) -> None:
    serving.publish(kubectl, 700)
    await kubectl.apply(a_served_deployment(), an_autoscaler())
    await wait_for_replicas(kubectl, 7)
    port = serving.server.port
    await serving.server.stop()
    await kubectl("wait", "--for=condition=Available=False", f"apiservice/{API_SERVICE}")
    assert (await kubectl.get("deployment", "web"))["spec"]["replicas"] == 7
    serving.server = ExternalMetricsServer(
        serving.store, serving.clock, serving.files, serving.trust, host=LOOPBACK, port=port
    )
    await serving.server.start()
    serving.publish(kubectl, 200)
    await wait_for_replicas(kubectl, 2, seconds=60)


async def set_ca_bundle(kubectl: Kubectl, bundle: bytes) -> None:
    """Make the API server trust certificates that this bundle signed."""
    patch = {"spec": {"caBundle": api_service(ServiceReference("default", SERVICE), bundle)["spec"]["caBundle"]}}
    await kubectl("patch", "apiservice", API_SERVICE, "--type=merge", "-p", json.dumps(patch))


async def wait_for_replicas(kubectl: Kubectl, count: int, seconds: float = 30.0) -> None:
    await eventually(
        lambda: kubectl.get("deployment", "web"),
        lambda deployment: deployment["spec"].get("replicas") == count,
        seconds,
    )


async def condition(kubectl: Kubectl, kind: str) -> dict[str, Any]:
    status = (await kubectl.get("hpa", "web")).get("status", {})
    conditions = status.get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == kind), {"status": "Unknown"})


def a_served_deployment() -> dict[str, Any]:
    deployment = a_deployment("web", replicas=1)
    deployment["spec"]["template"]["spec"]["nodeName"] = NODE
    return deployment


def an_autoscaler() -> dict[str, Any]:
    metric = {"name": "predictive-scaling-demand", "selector": {"matchLabels": {"policy": "checkout"}}}
    target = {"type": "AverageValue", "averageValue": "100"}
    at_once = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 100, "periodSeconds": 1}]}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 20,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
            "behavior": {"scaleUp": at_once, "scaleDown": at_once},
        },
    }
