"""The local control plane as the demo and other tests use it: kubelets, scheduler, HPA controller."""

import ssl
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.kubelets import NODE
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.progress import ignore
from predictive_scaling.stack.stack import Stack
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl

pytestmark = pytest.mark.integration
GROUP = "external.metrics.k8s.io"
READY_DELAY = timedelta(seconds=2)


@pytest.fixture(scope="module")
async def slow_cluster() -> AsyncGenerator[Kubernetes]:
    """Pods take 2 seconds to become ready, and a scheduler assigns their node."""
    options = ClusterOptions(hpa_sync_period=timedelta(milliseconds=150), pod_ready_delay=READY_DELAY, scheduler=True)
    async with Stack([Part.KUBERNETES], cluster=options, notify=ignore) as stack:
        yield stack.kubernetes


@pytest.fixture
def slow(slow_cluster: Kubernetes) -> Kubectl:
    return Kubectl(slow_cluster.kubectl_program, slow_cluster.kubeconfig)


async def test_a_pod_becomes_ready_after_the_delay(slow: Kubectl) -> None:
    await slow.apply(_pod("late", {"nodeName": NODE}))
    pod = await eventually(lambda: slow.get("pod", "late"), _is_ready)
    ready = next(condition for condition in pod["status"]["conditions"] if condition["type"] == "Ready")
    started_at, ready_at = (
        datetime.fromisoformat(time) for time in (pod["status"]["startTime"], ready["lastTransitionTime"])
    )
    # The times have no fractions of a second.
    assert ready_at - started_at > READY_DELAY - timedelta(seconds=1)


async def test_the_scheduler_assigns_a_node(slow: Kubectl) -> None:
    await slow.apply(_pod("placed", {}))
    pod = await eventually(lambda: slow.get("pod", "placed"), lambda pod: pod["spec"].get("nodeName"))
    assert pod["spec"]["nodeName"] == NODE


async def test_the_scheduler_reports_why_a_pod_has_no_node(slow: Kubectl) -> None:
    await slow.apply(_pod("too-big", {}, cpu="20000"))
    pod = await eventually(lambda: slow.get("pod", "too-big"), lambda pod: pod["status"].get("conditions"))
    assert "Insufficient cpu" in pod["status"]["conditions"][0]["message"]


async def test_a_deleted_pod_is_removed(slow: Kubectl) -> None:
    await slow.apply(_pod("short", {"nodeName": NODE}))
    await slow("delete", "pod", "short")
    assert await slow("get", "pod", "short", "--ignore-not-found") == ""


async def test_an_hpa_follows_a_metric_served_by_the_test(slow_cluster: Kubernetes, slow: Kubectl) -> None:
    port = free_port()
    certificate = slow_cluster.serving_certificate("metrics", "default")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    runner = web.AppRunner(_metric_server("300"))
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port, ssl_context=context).start()
    try:
        await slow_cluster.serve_api(GROUP, "v1beta1", "metrics", "default", port)
        await slow("wait", "--for=condition=Available", f"apiservice/v1beta1.{GROUP}")
        await slow.apply(_deployment("web"), _autoscaler("web"))
        deployment = await eventually(
            lambda: slow.get("deployment", "web"), lambda deployment: deployment["spec"]["replicas"] == 3
        )
        assert deployment["spec"]["replicas"] == 3
    finally:
        await runner.cleanup()


def _metric_server(value: str) -> web.Application:
    async def resources(request: web.Request) -> web.Response:
        del request
        metric = {"name": "demand", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
        version = f"{GROUP}/v1beta1"
        return web.json_response(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [metric]}
        )

    async def values(request: web.Request) -> web.Response:
        del request
        item = {"metricName": "demand", "metricLabels": {}, "timestamp": "2026-01-01T00:00:00Z", "value": value}
        return web.json_response(
            {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/v1beta1", "metadata": {}, "items": [item]}
        )

    application = web.Application()
    application.router.add_get(f"/apis/{GROUP}/v1beta1", resources)
    application.router.add_get(f"/apis/{GROUP}/v1beta1/namespaces/{{namespace}}/demand", values)
    return application


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod["status"].get("conditions", [])
    )


def _pod(name: str, spec: dict[str, Any], cpu: str = "100m") -> dict[str, Any]:
    container = {"name": "server", "image": "server", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def _deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": _pod(name, {"nodeName": NODE})["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


def _autoscaler(name: str) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": "100"}
    metric = {"type": "External", "external": {"metric": {"name": "demand"}, "target": target}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": 10,
            "metrics": [metric],
        },
    }
