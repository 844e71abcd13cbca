"""Decisions that a former operator left unfinished: each is taken up on its own, and none holds up another policy."""

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.control.actuation import recovery as module
from predictive_scaling.decision.decision_state import decision_id, decision_name
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import ClusterUnavailableError, TargetRefusedError
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.storage.scaling_decisions import UNFINISHED, DecisionStatus, ScalingDecisionRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, a_policy
from tests.support.control import World

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    """What was logged."""
    with capture_logs() as found:
        yield found


class Seconds:
    """The monotonic clock, moved by a test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


class Unobservable(InMemoryTarget):
    """Cannot be looked at until `error` is None."""

    error: Exception | None = None

    async def observe(self) -> Observed:
        if self.error is not None:
            raise self.error
        return await InMemoryTarget.observe(self)


def a_neighbour(**spec: Any) -> ScalingPolicy:
    """ScalingPolicy shop/orders, of hpa/orders."""
    parts: dict[str, Any] = {"target": {"horizontalPodAutoscaler": {"name": "orders"}}} | spec
    policy = a_policy(**parts)
    metadata = policy.metadata.model_copy(update={"name": "orders", "uid": "orders-uid"})
    return policy.model_copy(update={"metadata": metadata})


def an_unfinished(status: DecisionStatus, number: int = 1, **fields: Any) -> ScalingDecisionRow:
    """A decision for the neighbour, from an hour ago."""
    row = ScalingDecisionRow(
        id=f"orders-{number}",
        created_at=NOON - HOUR,
        service_name="orders",
        namespace="shop",
        policy="orders",
        policy_uid="orders-uid",
        generation=1,
        target="hpa/orders",
        decision_type="scale_up",
        status=status,
        from_replicas=2,
        to_replicas=4,
        uncapped_replicas=4,
        source="Minimum",
        reason="BoundsChanged",
        message="",
        mode="Auto",
        deadline_at=NOON + HOUR,
    )
    return replace(row, **fields)


def a_world(row: ScalingDecisionRow, neighbour: ScalingPolicy | None = None) -> World:
    """shop/checkout, whose floor should rise to 9, and shop/orders, whose last operator left `row` unfinished."""
    world = World(a_policy(), neighbour or a_neighbour())
    world.targets["orders"] = Unobservable(4, 40, 4, 4, uid="orders", managers=("predictive-scaling",))
    world.decisions.rows[row.id] = row
    return world


@pytest.mark.parametrize("status", UNFINISHED)
async def test_a_decision_for_a_target_that_has_no_adapter_any_more_ends_and_stops_nobody(
    status: DecisionStatus,
) -> None:
    workload = {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"}}
    row = an_unfinished(status, target="workload/orders")
    world = a_world(row, a_neighbour(target=workload))
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.decisions.rows[row.id].status == "cancelled"


ERRORS = [
    ClusterUnavailableError("the API server did not answer"),
    ObjectRefusedError("horizontalpodautoscalers is forbidden"),
    TargetRefusedError("refused"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("status", [DecisionStatus.PENDING, DecisionStatus.EXECUTING])
async def test_a_target_that_cannot_be_looked_at_holds_its_own_policy_until_it_can(
    status: DecisionStatus, error: Exception, seconds: Seconds
) -> None:
    row = an_unfinished(status)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, Unobservable)
    orders.error = error
    await world.turn(20)
    assert world.target.minimum == 9
    assert orders.writes == 0
    assert world.decisions.rows[row.id].status == status
    held = world.cluster.objects["/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingpolicies/orders"]
    (ready,) = [one for one in held["status"]["conditions"] if one["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "RecoveryPending")
    assert str(error) in ready["message"]

    orders.error = None
    seconds.now += 301
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "succeeded"
    assert orders.minimum == 9


async def test_what_no_retry_mends_ends_failed_with_the_reason() -> None:
    row = an_unfinished(DecisionStatus.EXECUTING)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, Unobservable)
    orders.error = KeyError("spec")
    await world.turn(1)
    orders.error = None
    await world.turn(20)
    assert world.target.minimum == orders.minimum == 9
    ended = world.decisions.rows[row.id]
    assert ended.status == "failed"
    assert "KeyError" in (ended.outcome or "")


async def test_a_decision_whose_policy_was_made_again_is_cancelled() -> None:
    row = an_unfinished(DecisionStatus.EXECUTING, policy_uid="before")
    world = a_world(row)
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert world.target.minimum == world.targets["orders"].minimum == 9


async def test_a_decision_cleared_while_its_target_cannot_be_looked_at_holds_its_policy_no_more(
    seconds: Seconds,
) -> None:
    row = an_unfinished(DecisionStatus.PENDING)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, Unobservable)
    orders.error = ObjectRefusedError("forbidden")
    await world.turn(2)
    orders.error = None
    world.decisions.rows[row.id] = replace(row, status="cancelled")
    seconds.now += 301
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert orders.minimum == 9


async def test_many_decisions_are_taken_up_although_requests_for_each_second_one_fail(seconds: Seconds) -> None:
    world = a_world(an_unfinished(DecisionStatus.PENDING))
    orders = world.targets["orders"]
    assert isinstance(orders, Unobservable)
    orders.error = ClusterUnavailableError("away")
    for number in range(2, 30):
        world.decisions.rows[f"orders-{number}"] = an_unfinished(DecisionStatus.PENDING, number)
    other = an_unfinished(DecisionStatus.PENDING, 99, policy="gone", policy_uid="gone")
    world.decisions.rows[other.id] = other
    for _ in range(12):
        await world.turn(1)
        seconds.now += 1
    assert world.target.minimum == 9
    assert world.decisions.rows[other.id].status == "cancelled"


async def test_a_list_of_scaling_decisions_that_is_refused_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def refused(path: str, *, page: int = 500) -> list[Json]:
        raise ObjectRefusedError(f"GET {path}: forbidden")

    monkeypatch.setattr(world.cluster, "metadata", refused)
    await world.turn(20)
    assert world.target.minimum == 9


async def test_a_restart_continues_after_the_newest_decision_of_each_policy() -> None:
    world = a_world(an_unfinished(DecisionStatus.SUCCEEDED))
    await world.turn(1)
    (made,) = [name for name, row in world.decisions.rows.items() if row.policy == "orders" and name != "orders-1"]
    assert made == decision_name("orders", decision_id("orders-uid", 1, "orders-1", 4, 8))
