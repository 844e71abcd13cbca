"""A raise that does harm is reverted, held back, and tried again later (semantics 19)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.control.actuation.assessment import FIRST_HOLD
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.port import ReplicaSource
from tests.support.builders import NOON, a_policy
from tests.support.control import World, an_edited_policy
from tests.support.pods import Json, a_container, a_crashing_pod_body, a_pod_body, an_unschedulable_pod_body

PODS = "/api/v1/namespaces/shop/pods"
PodBody = Callable[[str], Json]


def crashing(name: str) -> Json:
    return a_crashing_pod_body(name, NOON + timedelta(seconds=5))


def unready(name: str) -> Json:
    running = a_container(state={"running": {}})
    return a_pod_body(running, name=name, created_at=NOON + timedelta(seconds=5))


def unschedulable(name: str) -> Json:
    return an_unschedulable_pod_body("0/2 nodes are available: 2 Insufficient cpu.", name=name)


class Raised(World):
    """A raise from 2 to 9 whose seven new pods are as `pod` says; the demand needs two replicas."""

    def __init__(self, pod: PodBody, *, demand: float = 180.0, **spec: Any) -> None:
        self.spec: dict[str, Any] = {"scaleUp": {"maxStep": 40, "period": "1m"}} | spec
        super().__init__(a_policy(**self.spec), demand=880.0)
        self.source.demand = demand
        self.target.source = ReplicaSource("shop", "app=checkout", "uid-of-the-deployment")
        self.target.written_at = NOON
        self.target.replicas = 9
        for index in range(2):
            name = f"old-{index}"
            ready = a_container(state={"running": {}}) | {"ready": True}
            self.cluster.objects[f"{PODS}/{name}"] = a_pod_body(
                ready, name=name, ready=True, created_at=NOON - timedelta(hours=1)
            )
        for index in range(7):
            self.cluster.objects[f"{PODS}/new-{index}"] = pod(f"new-{index}")

    async def pass_deadline(self) -> None:
        """Three default lead times."""
        await self.turn()
        assert self.target.minimum == 9
        self.clock.advance(timedelta(minutes=20))
        await self.turn(2)

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        return [(row.status, row.cause) for row in self.decisions.rows.values()]


async def test_a_raise_whose_pods_crash_is_rolled_back_with_the_reason() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    assert world.target.minimum == 2
    assert world.outcomes[0] == ("rolled_back", "CrashLoop")
    outcome = next(iter(world.decisions.rows.values())).outcome or ""
    assert "exit code 1" in outcome
    assert "returns to 2" in outcome
    lowering = list(world.decisions.rows.values())[1]
    assert (lowering.reason, lowering.to_replicas, "RolledBack" in lowering.limits) == ("RolledBack", 2, True)
    assert world.phases[0] == "RolledBack"
    verified = world.condition("Verified")
    assert (verified["status"], verified["reason"]) == ("False", "CrashLoop")


async def test_a_raise_is_rolled_back_before_its_deadline_while_fewer_replicas_are_ready() -> None:
    world = Raised(crashing)
    await world.turn()
    world.target.ready_replicas = 1
    await world.turn(2)
    assert world.target.minimum == 2
    assert world.outcomes[0] == ("rolled_back", "CrashLoop")


async def test_failing_probes_are_rolled_back_only_if_fewer_replicas_are_ready_than_before() -> None:
    world = Raised(unready)
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes) == (9, [("failed", "ProbeFailing")])
    world = Raised(unready)
    await world.turn()
    world.target.ready_replicas = 1
    await world.turn(2)
    assert world.target.minimum == 9, "pods may be slow until the deadline"
    world.clock.advance(timedelta(minutes=20))
    await world.turn(2)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "ProbeFailing"))


async def test_pods_that_wait_for_a_node_do_no_harm() -> None:
    world = Raised(unschedulable)
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes) == (9, [("failed", "Unschedulable")])


@pytest.mark.parametrize(("demand", "minimum", "floor"), [(450.0, 1, 5), (180.0, 4, 4), (880.0, 1, 9)])
async def test_a_rollback_keeps_what_the_demand_and_the_policy_need(demand: float, minimum: int, floor: int) -> None:
    world = Raised(crashing, demand=demand, min=minimum)
    await world.pass_deadline()
    assert world.target.minimum == floor
    status = "failed" if floor == 9 else "rolled_back"
    assert world.outcomes[-1 if floor == 9 else -2] == (status, "CrashLoop")


async def test_without_demand_a_raise_is_not_rolled_back() -> None:
    world = Raised(crashing)
    world.source.until = NOON
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes[0]) == (9, ("failed", "CrashLoop"))


async def test_a_rolled_back_raise_is_repeated_after_a_back_off_that_doubles() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    await world.turn(5, FIRST_HOLD / 6)
    assert world.target.minimum == 2
    await world.turn(3, FIRST_HOLD / 6)
    assert world.target.minimum == 9, "the back-off is over"
    world.clock.advance(timedelta(minutes=20))
    await world.turn(2)
    assert world.target.minimum == 2
    await world.turn(9, FIRST_HOLD / 6)
    assert world.target.minimum == 2, "the second back-off is longer"
    await world.turn(5, FIRST_HOLD / 6)
    assert world.target.minimum == 9


async def test_a_changed_policy_or_a_new_release_ends_the_back_off() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    world.target.template = "second"
    await world.turn()
    assert world.target.minimum == 9, "the new release may start"
    world = Raised(crashing)
    await world.pass_deadline()
    world.put(an_edited_policy(generation=2, **world.spec))
    await world.turn()
    assert world.target.minimum == 9


async def test_a_raise_in_several_steps_returns_to_the_floor_before_the_first_step() -> None:
    world = Raised(crashing, scaleUp={"maxStep": "100%", "period": "1m"})
    await world.turn(10)
    assert world.target.minimum == 9
    world.clock.advance(timedelta(minutes=20))
    await world.turn(2)
    assert world.target.minimum == 2
    assert [status for status, _ in world.outcomes[:3]] == ["rolled_back"] * 3
    (record,) = world.records[PolicyKey("shop", "checkout")]
    hold = world.states.of(record, world.clock.now()).raise_hold
    assert hold is not None
    assert (hold.floor, hold.failures) == (2, 1)


async def test_a_raise_from_before_a_new_release_is_not_rolled_back() -> None:
    world = Raised(crashing)
    await world.turn()
    world.target.template = "second"
    world.clock.advance(timedelta(minutes=20))
    await world.turn(2)
    assert (world.target.minimum, world.outcomes[0]) == (9, ("failed", "CrashLoop"))


async def test_a_restart_keeps_the_first_back_off() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    world.restart()
    await world.turn(3)
    assert world.target.minimum == 2
    await world.turn(6, FIRST_HOLD / 6)
    assert world.target.minimum == 9


async def test_a_pin_is_not_rolled_back() -> None:
    world = Raised(crashing, annotations={"predictive-scaling.io/pin": "9"})
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes[0]) == (9, ("failed", "CrashLoop"))


async def test_pods_that_may_not_be_listed_are_named_as_the_problem() -> None:
    world = Raised(crashing)
    world.cluster.refused[PODS] = "pods is forbidden: User operator cannot list resource pods"
    await world.pass_deadline()
    (row,) = world.decisions.rows.values()
    assert (row.status, row.cause) == ("failed", "Timeout")
    assert "cannot list resource pods" in (row.outcome or "")


async def test_refused_pods_of_a_workload_without_a_condition_are_explained_by_its_events() -> None:
    world = Raised(crashing)
    for index in range(7):
        del world.cluster.objects[f"{PODS}/new-{index}"]
    world.target.replicas = 2
    message = (
        "create Pod web-2 in StatefulSet web failed error: pods is forbidden: exceeded quota: few, requested: pods=1"
    )
    event = {"metadata": {"name": "web.1"}, "reason": "FailedCreate", "message": message}
    world.cluster.objects["/api/v1/namespaces/shop/events/web.1"] = event
    await world.pass_deadline()
    (row,) = world.decisions.rows.values()
    assert (row.status, row.cause) == ("failed", "Quota")
    assert "exceeded quota: few" in (row.outcome or "")


async def test_pods_are_read_only_for_a_late_or_unhealthy_raise() -> None:
    world = Raised(crashing)
    await world.turn(3)
    assert world.cluster.pages == []
    world.target.ready_replicas = 1
    await world.turn()
    assert world.cluster.pages == [PODS]
