"""Node headroom follows the policies: it is reserved, changed, shown and removed, also after a restart."""

from collections import UserDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.cluster.client import ObjectRefusedError
from predictive_scaling.cluster.horizontal_pod_autoscaler_record import path_of
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.headroom_objects import POLICY_LABEL
from predictive_scaling.control.actuation.headroom_writer import HeadroomObject, HeadroomSnapshot
from predictive_scaling.decision.review import Problem
from predictive_scaling.errors import RequestFailedError, TargetRefusedError
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import DecisionPhase, HeadroomMethod
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import NOON, a_policy, an_event
from tests.support.control import World, a_policy_named
from tests.support.manifests import a_deployment, an_autoscaler

PLACEHOLDERS = "/apis/apps/v1/namespaces/shop/deployments/checkout-headroom"
BUFFER = "/apis/autoscaling.x-k8s.io/v1beta1/namespaces/shop/capacitybuffers/checkout-headroom"
SERVED = {"preferredVersion": {"version": "v1beta1"}}


def a_world(policy: ScalingPolicy | None = None, *, node_headroom: Any = None, **spec: Any) -> World:
    """shop/checkout, whose demand needs 9 replicas from 20 minutes on, for an event."""
    spec |= {"nodeHeadroom": node_headroom or {"leadTime": "20m"}}
    world = World(policy or a_policy(**spec), demand=180.0)
    for body in (an_autoscaler("checkout"), a_deployment("checkout")):
        plural = "deployments" if body["kind"] == "Deployment" else "horizontalpodautoscalers"
        path = f"/apis/{body['apiVersion']}/namespaces/shop/{plural}/checkout"
        body["metadata"] |= {"uid": body["kind"], "resourceVersion": "1", "namespace": "shop"}
        world.cluster.objects[path] = body
    assert path_of("shop", "checkout") in world.cluster.objects
    resources = [
        {"name": name, "kind": "Deployment", "namespaced": True} for name in ("deployments", "deployments/scale")
    ]
    world.cluster.objects["/apis/apps/v1"] = {"resources": resources}
    event = an_event("sale", NOON + timedelta(minutes=20), NOON + timedelta(hours=2), expect={"minReplicas": 9})
    world.event_records["shop", "sale"] = [EventRecord("shop", "sale", "sale", 1, 1, NOON, {}, event)]
    return world


async def settle(world: World, passes: int = 2) -> None:
    """Reconcile, reserve the headroom, and show it."""
    for _ in range(passes):
        await world.turn()
        await world.node_headroom.run()


def reserved_of(world: World) -> int | None:
    """The replicas of the placeholders; None without any."""
    body = world.cluster.objects.get(PLACEHOLDERS)
    return None if body is None else body["spec"]["replicas"]


async def test_placeholders_exist_before_the_floor_rises() -> None:
    world = a_world()
    await settle(world)
    assert (world.status["floor"], reserved_of(world)) == (2, 7)
    await world.turn()
    assert world.status["nodeHeadroom"] == {"replicas": 7, "method": "Placeholders", "ready": 0}


async def test_the_headroom_shrinks_as_the_floor_rises() -> None:
    world = a_world()
    await settle(world)
    world.clock.advance(timedelta(minutes=16))
    await settle(world, passes=14)
    assert world.target.minimum == 9
    assert reserved_of(world) == 0


@pytest.mark.parametrize(("max_step", "kept"), [(40, 0), (3, 4)])
async def test_placeholders_are_released_before_the_floor_is_written(
    monkeypatch: pytest.MonkeyPatch, max_step: int, kept: int
) -> None:
    world = a_world(scaleUp={"maxStep": max_step, "period": "10m"})
    await settle(world)
    reserved_at_the_write: list[int | None] = []
    apply = InMemoryTarget.apply

    async def write(target: InMemoryTarget, floor: int, *, take: bool = False) -> Applied:
        reserved_at_the_write.append(reserved_of(world))
        await world.node_headroom.run()  # a pass that comes in between reserves nothing again
        reserved_at_the_write.append(reserved_of(world))
        return await apply(target, floor, take=take)

    monkeypatch.setattr(InMemoryTarget, "apply", write)
    world.clock.advance(timedelta(minutes=16))
    await world.turn()
    assert world.target.minimum == 9 - kept
    assert reserved_at_the_write == [kept, kept]
    await settle(world)
    assert reserved_of(world) == kept


async def test_no_placeholder_returns_while_a_written_raise_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass after the write, before its reconciliation ends: the last decision is still the one before the raise."""
    world = a_world(scaleUp={"maxStep": 40, "period": "1m"})
    await settle(world)
    reserved_meanwhile: list[int | None] = []
    transition = DecisionRecords.transition

    async def slow(records: DecisionRecords, *arguments: Any, **options: Any) -> bool:
        if DecisionPhase.VERIFYING in arguments:
            await world.node_headroom.run()
            reserved_meanwhile.append(reserved_of(world))
        return await transition(records, *arguments, **options)

    monkeypatch.setattr(DecisionRecords, "transition", slow)
    world.clock.advance(timedelta(minutes=16))
    await world.turn()
    assert (world.target.minimum, reserved_meanwhile) == (9, [0])


async def test_the_floor_rises_even_if_placeholders_cannot_be_released(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world(scaleUp={"maxStep": 40, "period": "1m"})
    await settle(world)

    merge = world.cluster.merge

    async def refuse(path: str, body: Any) -> Any:
        if path == PLACEHOLDERS:
            raise ObjectRefusedError(f"PATCH {path}: deployments is forbidden")
        return await merge(path, body)

    monkeypatch.setattr(world.cluster, "merge", refuse)
    world.clock.advance(timedelta(minutes=16))
    await world.turn()
    assert (world.target.minimum, reserved_of(world)) == (9, 7)


async def test_the_placeholders_of_a_refused_raise_return(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world(scaleUp={"maxStep": 40, "period": "1m"})
    await settle(world)

    async def refuse(*_: Any, **__: Any) -> Any:
        raise TargetRefusedError("denied by an admission webhook")

    monkeypatch.setattr(InMemoryTarget, "apply", refuse)
    world.clock.advance(timedelta(minutes=16))
    await world.turn()
    assert (world.target.minimum, reserved_of(world)) == (2, 0)
    await settle(world)
    assert reserved_of(world) == 7


async def test_replicas_that_another_client_changed_are_set_again() -> None:
    world = a_world()
    await settle(world)
    world.cluster.objects[PLACEHOLDERS]["spec"]["replicas"] = 1
    await settle(world)
    assert reserved_of(world) == 7


async def test_nothing_is_written_again_while_nothing_changes() -> None:
    world = a_world()
    await settle(world)
    writes = len([path for _, path in world.cluster.writes if path == PLACEHOLDERS])
    await settle(world, passes=4)
    assert len([path for _, path in world.cluster.writes if path == PLACEHOLDERS]) == writes == 1


async def test_recommend_computes_the_headroom_and_reserves_none() -> None:
    world = a_world(mode="Recommend")
    await settle(world)
    await world.turn()
    assert reserved_of(world) is None
    assert world.status["nodeHeadroom"] == {"replicas": 7}


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_policy_without_a_request_releases_its_headroom(*, restarts: bool) -> None:
    world = a_world()
    await settle(world)
    world.put(a_policy_named("checkout", generation=2).model_copy(update={"metadata": a_policy().metadata}))
    if restarts:
        world.restart()
    await settle(world)
    assert reserved_of(world) is None
    assert "nodeHeadroom" not in world.status


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_invalid_policy_keeps_its_headroom(*, restarts: bool) -> None:
    world = a_world()
    await settle(world)
    ((key, (record,)),) = world.records.items()
    problem = Problem("InvalidTimezone", "spec.forecast.timezone: Mars is no time zone")
    world.records[key] = [replace(record, policy=None, problem=problem)]
    if restarts:
        world.restart()
    await settle(world)
    assert reserved_of(world) == 7


def test_the_rooms_of_all_policies_are_gone_through_once() -> None:
    class CountedObjects(UserDict[str, HeadroomObject]):
        passes = 0

        def __iter__(self) -> Iterator[str]:
            self.passes += 1
            return super().__iter__()

    bodies = [{"metadata": {"labels": {POLICY_LABEL: f"uid-{number}"}}} for number in range(50)]
    objects = CountedObjects(
        (str(number), HeadroomObject(str(number), HeadroomMethod.PLACEHOLDERS, body))
        for number, body in enumerate(bodies)
    )
    snapshot = HeadroomSnapshot(None, objects)
    assert [list(snapshot.of(f"uid-{number}")) for number in range(50)] == [[str(number)] for number in range(50)]
    assert objects.passes == 1
    assert snapshot.of("unknown") == {}


async def test_a_capacity_buffer_replaces_placeholders_once_the_cluster_has_the_api() -> None:
    world = a_world()
    await settle(world)
    world.cluster.objects["/apis/autoscaling.x-k8s.io"] = SERVED
    await settle(world)
    assert world.cluster.objects[BUFFER]["spec"]["replicas"] == 7
    assert reserved_of(world) is None


async def test_a_missing_api_is_named_with_the_remedy() -> None:
    world = a_world(node_headroom={"leadTime": "20m", "method": "CapacityBuffer"})
    await settle(world)
    await world.turn()
    assert "set spec.nodeHeadroom.method to Placeholders" in world.status["nodeHeadroom"]["message"]
    assert reserved_of(world) is None


async def test_a_quota_that_counts_placeholders_is_named() -> None:
    world = a_world()
    quota = {"metadata": {"name": "compute"}, "spec": {"hard": {"requests.cpu": "10", "services": "3"}}}
    world.cluster.objects["/api/v1/namespaces/shop/resourcequotas/compute"] = quota
    await settle(world)
    await world.turn()
    assert reserved_of(world) is None
    assert "ResourceQuota compute counts requests.cpu" in world.status["nodeHeadroom"]["message"]


async def test_a_deployment_of_somebody_else_is_not_touched() -> None:
    world = a_world()
    foreign = {"metadata": {"name": "checkout-headroom", "namespace": "shop"}, "spec": {"replicas": 1}}
    world.cluster.objects[PLACEHOLDERS] = foreign
    await settle(world)
    await world.turn()
    assert world.cluster.objects[PLACEHOLDERS] == foreign
    assert "exists and was not created for this policy" in world.status["nodeHeadroom"]["message"]


async def test_a_failure_of_one_policy_affects_no_other() -> None:
    world = a_world()
    world.targets["search"] = world.target
    broken = a_policy_named("search", target="search", nodeHeadroom={"leadTime": "20m"})
    world.put(broken)
    await settle(world)
    await world.turn()
    assert reserved_of(world) == 7
    assert "search" in world.policy("search")["status"]["nodeHeadroom"]["message"]


async def test_a_missing_right_is_named_and_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world()

    async def refuse(path: str, **_: Any) -> list[Any]:
        raise ObjectRefusedError(f"GET {path}: deployments is forbidden")

    monkeypatch.setattr(world.cluster, "items", refuse)
    await settle(world)
    await world.turn()
    assert reserved_of(world) is None
    assert "list, create, patch and delete on deployments" in world.status["nodeHeadroom"]["message"]


async def test_a_quota_does_not_keep_placeholders_from_shrinking() -> None:
    world = a_world()
    await settle(world)
    quota = {"metadata": {"name": "compute"}, "spec": {"hard": {"pods": "10"}}}
    world.cluster.objects["/api/v1/namespaces/shop/resourcequotas/compute"] = quota
    world.target.replicas = world.target.ready_replicas = 6
    await settle(world)
    assert reserved_of(world) == 3


async def test_capacity_is_not_reserved_twice_while_it_is_unknown_whether_buffers_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = a_world()
    world.cluster.objects["/apis/autoscaling.x-k8s.io"] = SERVED
    await settle(world)
    get = world.cluster.get

    async def fail_for_the_group(path: str) -> Any:
        if path == "/apis/autoscaling.x-k8s.io":
            raise RequestFailedError("the API is away")
        return await get(path)

    monkeypatch.setattr(world.cluster, "get", fail_for_the_group)
    await settle(world)
    await world.turn()
    assert reserved_of(world) is None
    assert world.cluster.objects[BUFFER]["spec"]["replicas"] == 7
    assert "the API is away" in world.status["nodeHeadroom"]["message"]
