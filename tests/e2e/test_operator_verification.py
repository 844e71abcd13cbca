"""Why replicas are not ready, made for real: scheduler, quota, and kubelets that fail on purpose (semantics 19)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import yaml

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.kubelets import stages
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.stack import Stack
from tests.fixtures.stack import CRDS
from tests.support.api_services import api_client, api_services
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, create_quota
from tests.support.manifests import (
    Manifest,
    a_business_event,
    a_node,
    a_pooled_deployment,
    a_scaling_policy,
    an_autoscaler,
)
from tests.support.observing import get_condition, get_decisions, get_minimum, record_steady_demand
from tests.support.operator_process import NOON, OperatorProcess, kubeconfig_of_cluster_role, running

pytestmark = pytest.mark.e2e

_SCHEDULED = """
conditions:
- {lastTransitionTime: {{ Now | Quote }}, status: "False", type: ContainersReady, reason: ContainersNotReady}
- {lastTransitionTime: {{ Now | Quote }}, status: "False", type: Ready, reason: ContainersNotReady}
containerStatuses:
{{ range .spec.containers }}
- image: {{ .image | Quote }}
  name: {{ .name | Quote }}
  ready: false
  started: false
  STATE
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: 10.1.1.1
phase: Running
startTime: {{ Now | Quote }}
"""
KUBELETS = {
    "crash": (
        "restartCount: 4\n  state: {waiting: {reason: CrashLoopBackOff, message: back-off 1m20s restarting}}\n"
        "  lastState: {terminated: {exitCode: 137, reason: OOMKilled, startedAt: null, finishedAt: null}}"
    ),
    "image": (
        "restartCount: 0\n  state: {waiting: {reason: ImagePullBackOff, "
        'message: "Back-off pulling image: not found in registry"}}'
    ),
    "config": (
        "restartCount: 0\n  state: {waiting: {reason: CreateContainerConfigError, message: 'secret \"web\" not found'}}"
    ),
    "probe": "restartCount: 0\n  state: {running: {startedAt: {{ Now | Quote }}}}",
}
"""What the kubelet of a node reports of its containers, by the first word of the node's name."""
_WORD = '.spec.nodeName | split("-") | .[0]'


def failing_stages() -> str:
    """The stages of kubelets: as usual, except on nodes that fail by their name."""
    usual: list[dict[str, Any]] = list(yaml.safe_load_all(stages(timedelta(0))))
    for stage in usual:
        if stage["metadata"]["name"] != "pod-delete":
            expressions = stage["spec"]["selector"]["matchExpressions"]
            expressions.append({"key": _WORD, "operator": "NotIn", "values": list(KUBELETS)})
    fresh = {"key": ".status.podIP", "operator": "DoesNotExist"}
    alive = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    failing = [
        {
            "apiVersion": "kwok.x-k8s.io/v1alpha1",
            "kind": "Stage",
            "metadata": {"name": f"pod-{word}"},
            "spec": {
                "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
                "selector": {
                    "matchExpressions": [alive, fresh, {"key": _WORD, "operator": "In", "values": [word]}],
                },
                "next": {"statusTemplate": _SCHEDULED.replace("STATE", state)},
            },
        }
        for word, state in KUBELETS.items()
    ]
    return yaml.safe_dump_all([*usual, *failing])


@dataclass(frozen=True)
class Scene:
    """A control plane with a scheduler, an operator, and a namespace."""

    cluster: Kubernetes
    operator: OperatorProcess
    kubectl: Kubectl

    async def raise_floor(
        self,
        name: str,
        *nodes: Manifest,
        demand: float = 880.0,
        requests: dict[str, str] | None = None,
        target: str = "horizontalPodAutoscaler",
    ) -> None:
        """Two ready pods on a good node with room for just these; then `nodes`, and a floor of nine."""
        pool = f"{name}-{self.kubectl.namespace}"
        await self.cluster.apply([a_node(f"good-{pool}", pool, pods=2)], f"node-{name}")
        deployment, named = a_pooled_deployment(name, pool, requests), {"name": name}
        if target == "workload":
            deployment["spec"]["replicas"] = 2
            named |= {"apiVersion": "apps/v1", "kind": "Deployment"}
        await self.kubectl.apply(deployment)
        if target == "horizontalPodAutoscaler":
            await self.kubectl.apply(an_autoscaler(name, minimum=2, maximum=40))
        await eventually(lambda: self.ready(name), lambda ready: ready == 2, seconds=60)
        if nodes:
            await self.cluster.apply([*nodes], f"nodes-{name}")
        service = f"{self.kubectl.namespace}-{name}"
        await record_steady_demand(self.operator.database_url, self.operator.clock, service, demand, timedelta(hours=6))
        policy = a_scaling_policy(
            name,
            demand={"service": service, "metric": "requests_per_second", "perReplica": "100"},
            # The deadline is a multiple of the lead time.
            forecast={"leadTime": "20s"},
            scaleUp={"maxStep": 40, "period": "1m"},
            target={target: named},
        )
        policy["metadata"]["labels"] = {"name": name}
        await self.kubectl.apply(policy)

    def pool(self, name: str) -> str:
        return f"{name}-{self.kubectl.namespace}"

    async def ready(self, name: str) -> int:
        return (await self.kubectl.get("deployment", name)).get("status", {}).get("readyReplicas", 0)

    async def failure(self, name: str, reason: str, phase: str = "Failed") -> str:
        """Wait until a raise of the policy ended with this reason in status, decision, Event and API; its sentence."""
        condition = await eventually(
            lambda: get_condition(self.kubectl, "Verified", name),
            lambda condition: condition.get("reason") == reason,
            seconds=90,
        )
        assert condition["status"] == "False"
        decisions = await eventually(
            lambda: self._decisions(name), lambda decisions: any(has_phase(decision, phase) for decision in decisions)
        )
        decision = next(decision for decision in decisions if has_phase(decision, phase))
        status = decision["status"]
        assert status["cause"] == reason
        succeeded = next(condition for condition in status["conditions"] if condition["type"] == "Succeeded")
        assert (succeeded["status"], succeeded["reason"]) == ("False", reason)
        event = "RolledBack" if phase == "RolledBack" else "VerificationFailed"
        await eventually(lambda: self._notes(name, event), lambda notes: any(reason in note for note in notes))
        ended = "rolled_back" if phase == "RolledBack" else "failed"
        row = await eventually(
            lambda: self._api_row(decision["metadata"]["name"]), lambda row: row.get("status") == ended
        )
        assert row["cause"] == reason
        assert row["outcome"] == status["message"]
        return status["message"]

    async def _decisions(self, name: str) -> list[dict[str, Any]]:
        return [decision for decision in await get_decisions(self.kubectl) if decision["spec"]["policy"] == name]

    async def _notes(self, name: str, reason: str) -> list[str]:
        events = await self.kubectl.items("events.events.k8s.io")
        return [event["note"] for event in events if (event["regarding"]["name"], event["reason"]) == (name, reason)]

    async def _api_row(self, id_: str) -> dict[str, Any]:
        async with api_services(self.operator.database_url) as services, api_client(services) as client:
            listed = (await client.get("/api/v1/scaling/decisions?limit=500")).json()["decisions"]
        return next((row for row in listed if row["id"] == id_), {})


def has_phase(decision: dict[str, Any], phase: str) -> bool:
    return decision.get("status", {}).get("phase") == phase


@pytest.fixture(scope="module")
async def control_plane() -> AsyncGenerator[Kubernetes]:
    """A control plane with a scheduler, and kubelets that fail on nodes that are named after a failure."""
    options = ClusterOptions(
        hpa_sync_period=timedelta(seconds=0.5), hpa_downscale_stabilization=timedelta(0), scheduler=True
    )
    async with Stack([Part.KUBERNETES], cluster=options) as stack:
        cluster = stack.kubernetes
        await cluster.install_custom_resources(CRDS)
        await cluster.kwok.stop()
        (cluster.folder / "kwok.yaml").write_text(failing_stages())
        await cluster.kwok.start()
        yield cluster


@pytest.fixture(scope="module")
async def scene(
    control_plane: Kubernetes,
    postgres: PostgreSQL,
    database_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[Scene]:
    url = await postgres.create_database(f"operator_{monotonic():.0f}_verification", database_template)
    folder = tmp_path_factory.mktemp("operator")
    namespace = "causes"
    await control_plane.kubectl("create", "namespace", namespace)
    kubectl = Kubectl(control_plane.kubectl_program, control_plane.kubeconfig, namespace)
    kubeconfig = await kubeconfig_of_cluster_role(control_plane)
    process = OperatorProcess(kubeconfig, url, ReplayClock(NOON, monotonic(), 60), folder)
    async with running(process):
        yield Scene(control_plane, process, kubectl)


NODES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "crash": ("crash", {}, {}),
    "image": ("image", {}, {}),
    "config": ("config", {}, {}),
    "probe": ("probe", {}, {}),
    "cpu": ("full", {"cpu": "100m"}, {"cpu": "200m"}),
    "memory": ("full", {"memory": "1Mi"}, {"memory": "100Mi"}),
    "taint": ("full", {"taints": [{"key": "dedicated", "value": "batch", "effect": "NoSchedule"}]}, {}),
    "cordon": ("full", {"unschedulable": True}, {}),
}
"""For each workload: the word of its node for new pods, that node's fields, and the requests of its pods."""


@pytest.fixture(scope="module")
async def raised(scene: Scene) -> Scene:
    """All workloads of NODES raised at once, because each takes its deadline of about a quarter of a minute."""

    async def raise_floor(name: str) -> None:
        word, fields, requests = NODES[name]
        pool = scene.pool(name)
        await scene.raise_floor(name, a_node(f"{word}-{pool}", pool, **fields), requests=requests)

    await asyncio.gather(*map(raise_floor, NODES))
    return scene


@pytest.mark.parametrize(
    ("name", "reason", "fragments"),
    [
        ("crash", "CrashLoop", ["CrashLoopBackOff", "exit code 137 (OOMKilled)"]),
        ("image", "ImagePull", ["registry.k8s.io/pause:3.10", "ImagePullBackOff", "not found in registry"]),
        ("config", "ContainerNotCreated", ['secret "web" not found']),
        ("probe", "ProbeFailing", ["7 of 9 pods run but are not ready"]),
        ("cpu", "Unschedulable", ["7 of 9 pods cannot be scheduled", "insufficient cpu"]),
        ("memory", "Unschedulable", ["7 of 9 pods cannot be scheduled", "insufficient memory"]),
        ("taint", "Unschedulable", ["untolerated taint"]),
        ("cordon", "Unschedulable", ["cordoned nodes"]),
    ],
)
async def test_a_late_raise_names_what_kubelets_and_the_scheduler_report(
    raised: Scene, name: str, reason: str, fragments: list[str]
) -> None:
    sentence = await raised.failure(name, reason)
    for fragment in fragments:
        assert fragment in sentence
    # The demand needs the floor, so a raise is not reverted even if its pods crash.
    assert await get_minimum(raised.kubectl, name) == 9


async def test_a_late_raise_names_the_node_group_at_its_maximum(scene: Scene) -> None:
    await scene.raise_floor("nodegroup")
    message = "pod didn't trigger scale-up: 1 max node group size reached"
    reporting = asyncio.create_task(report_as_cluster_autoscaler(scene, "nodegroup", message))
    try:
        sentence = await scene.failure("nodegroup", "NodeGroupAtMaximum")
    finally:
        reporting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reporting
    assert message in sentence


async def report_as_cluster_autoscaler(scene: Scene, name: str, message: str) -> None:
    """Report on each pending pod what the cluster autoscaler does when its node groups are full."""
    reported: set[str] = set()
    while True:
        for pod in await scene.kubectl.items("pods"):
            metadata = pod["metadata"]
            is_pending = not pod["spec"].get("nodeName")
            if metadata["labels"].get("app") != name or not is_pending or metadata["name"] in reported:
                continue
            event = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{metadata['name']}.scale", "namespace": scene.kubectl.namespace},
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "namespace": scene.kubectl.namespace,
                    "uid": metadata["uid"],
                },
                "reason": "NotTriggerScaleUp",
                "message": message,
                "type": "Normal",
                "source": {"component": "cluster-autoscaler"},
                "lastTimestamp": metadata["creationTimestamp"],
            }
            await scene.kubectl("create", "-f", "-", stdin=json.dumps(event))
            reported.add(metadata["name"])
        await asyncio.sleep(0.2)


async def test_a_raise_that_is_overwritten_names_the_field_manager(scene: Scene) -> None:
    await scene.raise_floor("overwritten")
    await eventually(lambda: get_minimum(scene.kubectl, "overwritten"), lambda floor: floor == 9, seconds=40)
    manifest = json.dumps(an_autoscaler("overwritten", minimum=3, maximum=40))
    await scene.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=helm", "-f", "-", stdin=manifest
    )
    assert "helm set it" in await scene.failure("overwritten", "Overwritten")


async def test_a_raise_beyond_a_quota_names_the_quota(scene: Scene) -> None:
    namespace = "limited"
    await scene.cluster.kubectl("create", "namespace", namespace)
    limited = Scene(scene.cluster, scene.operator, Kubectl(scene.kubectl.program, scene.kubectl.kubeconfig, namespace))
    await create_quota(limited.kubectl, "few", pods=5)
    await limited.raise_floor("quota", a_node("wide-quota", limited.pool("quota")))
    sentence = await limited.failure("quota", "Quota")
    assert "exceeded quota: few" in sentence
    assert "limited: pods=5" in sentence


async def test_a_harmful_raise_is_rolled_back_and_held_back_until_a_new_release(scene: Scene) -> None:
    """Events request nine replicas, the demand needs two, and the seven new pods crash: of an HPA, and without one."""
    await asyncio.gather(
        roll_back(scene, "rollback", "horizontalPodAutoscaler", lambda: get_minimum(scene.kubectl, "rollback")),
        roll_back(scene, "rollback-workload", "workload", lambda: get_replicas(scene, "rollback-workload")),
    )


async def get_replicas(scene: Scene, name: str) -> int:
    return (await scene.kubectl.get("deployment", name))["spec"]["replicas"]


async def roll_back(scene: Scene, name: str, target: str, floor: Callable[[], Awaitable[int]]) -> None:
    pool = scene.pool(name)
    await scene.raise_floor(name, a_node(f"crash-{pool}", pool), demand=130.0, target=target)
    start = scene.operator.clock.now()
    times = {"start": start.isoformat(), "end": (start + timedelta(hours=5)).isoformat()}
    event = a_business_event(f"sale-{name}", **times, expect={"minReplicas": 9})
    event["spec"]["policies"] = {"matchLabels": {"name": name}}
    await scene.kubectl.apply(event)
    await eventually(floor, lambda count: count == 9, seconds=40)
    sentence = await scene.failure(name, "CrashLoop", "RolledBack")
    assert "The floor returns to 2" in sentence
    await eventually(floor, lambda count: count == 2, seconds=30)
    lowering = next(
        decision
        for decision in await get_decisions(scene.kubectl)
        if decision["spec"]["policy"] == name and decision["spec"]["type"] == "ScaleDown"
    )
    assert (lowering["spec"]["reason"], lowering["spec"]["to"]) == ("RolledBack", 2)
    await scene.kubectl("delete", "node", f"crash-{pool}")
    await scene.cluster.apply([a_node(f"wide-{pool}", pool)], f"node-wide-{name}")
    release = '{"spec": {"template": {"metadata": {"annotations": {"release": "2"}}}}}'
    await scene.kubectl("patch", "deployment", name, "--type=merge", "-p", release)
    await eventually(floor, lambda count: count == 9, seconds=40)
    await eventually(lambda: scene.ready(name), lambda ready: ready == 9, seconds=60)
