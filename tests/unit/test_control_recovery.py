"""Decisions that an earlier process left unfinished: each is recovered on its own and delays no other policy."""

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
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.scaling_decisions import UNFINISHED, ScalingDecisionRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import NOON, a_policy
from tests.support.control import World

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    with capture_logs() as entries:
        yield entries


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


class UnobservableTarget(InMemoryTarget):
    """A target whose observation fails until `error` is None."""

    error: Exception | None = None

    async def observe(self) -> Observed:
        if self.error is not None:
            raise self.error
        return await InMemoryTarget.observe(self)


def another_policy(**spec: Any) -> ScalingPolicy:
    """ScalingPolicy shop/orders on hpa/orders."""
    fields: dict[str, Any] = {"target": {"horizontalPodAutoscaler": {"name": "orders"}}} | spec
    policy = a_policy(**fields)
    metadata = policy.metadata.model_copy(update={"name": "orders", "uid": "orders-uid"})
    return policy.model_copy(update={"metadata": metadata})


def an_unfinished_decision(phase: DecisionPhase, number: int = 1, **fields: Any) -> ScalingDecisionRow:
    """A decision of shop/orders from an hour ago."""
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
        status=phase.stored,
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


def a_world(row: ScalingDecisionRow, other: ScalingPolicy | None = None) -> World:
    """shop/checkout, whose floor should rise to 9, and shop/orders with the unfinished decision `row`."""
    world = World(a_policy(), other or another_policy())
    world.targets["orders"] = UnobservableTarget(4, 40, 4, 4, uid="orders", managers=("predictive-scaling",))
    world.decisions.rows[row.id] = row
    return world


@pytest.mark.parametrize("phase", UNFINISHED)
async def test_a_decision_for_a_target_without_an_adapter_is_cancelled_and_delays_no_other(
    phase: DecisionPhase,
) -> None:
    workload = {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "orders"}}
    row = an_unfinished_decision(phase, target="workload/orders")
    world = a_world(row, another_policy(target=workload))
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.decisions.rows[row.id].status == "cancelled"


ERRORS = [
    ClusterUnavailableError("the API server did not answer"),
    ObjectRefusedError("horizontalpodautoscalers is forbidden"),
    TargetRefusedError("refused"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("phase", [DecisionPhase.PENDING, DecisionPhase.EXECUTING])
async def test_an_unobservable_target_blocks_only_its_policy_until_it_is_observable(
    phase: DecisionPhase, error: Exception, seconds: Seconds
) -> None:
    row = an_unfinished_decision(phase)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = error
    await world.turn(20)
    assert world.target.minimum == 9
    assert orders.writes == 0
    assert world.decisions.rows[row.id].phase is phase
    orders_policy = world.cluster.objects["/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingpolicies/orders"]
    conditions = orders_policy["status"]["conditions"]
    (ready,) = [condition for condition in conditions if condition["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "RecoveryPending")
    assert str(error) in ready["message"]

    orders.error = None
    seconds.now += 301
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "succeeded"
    assert orders.minimum == 9


async def test_an_unexpected_error_ends_the_decision_as_failed_with_the_error() -> None:
    row = an_unfinished_decision(DecisionPhase.EXECUTING)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = KeyError("spec")
    await world.turn(1)
    orders.error = None
    await world.turn(20)
    assert world.target.minimum == orders.minimum == 9
    decision = world.decisions.rows[row.id]
    assert decision.status == "failed"
    assert "KeyError" in (decision.outcome or "")


async def test_a_decision_of_a_re_created_policy_is_cancelled() -> None:
    row = an_unfinished_decision(DecisionPhase.EXECUTING, policy_uid="before")
    world = a_world(row)
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert world.target.minimum == world.targets["orders"].minimum == 9


async def test_a_decision_cleared_while_its_target_is_unobservable_does_not_block_its_policy(
    seconds: Seconds,
) -> None:
    row = an_unfinished_decision(DecisionPhase.PENDING)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = ObjectRefusedError("forbidden")
    await world.turn(2)
    orders.error = None
    world.decisions.rows[row.id] = replace(row, status="cancelled")
    seconds.now += 301
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert orders.minimum == 9


async def test_many_decisions_are_recovered_although_some_requests_fail(seconds: Seconds) -> None:
    world = a_world(an_unfinished_decision(DecisionPhase.PENDING))
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = ClusterUnavailableError("away")
    for number in range(2, 30):
        world.decisions.rows[f"orders-{number}"] = an_unfinished_decision(DecisionPhase.PENDING, number)
    other = an_unfinished_decision(DecisionPhase.PENDING, 99, policy="gone", policy_uid="gone")
    world.decisions.rows[other.id] = other
    for _ in range(12):
        await world.turn(1)
        seconds.now += 1
    assert world.target.minimum == 9
    assert world.decisions.rows[other.id].status == "cancelled"


async def test_a_refused_list_of_scaling_decisions_delays_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def refused(path: str, *, page: int = 500) -> list[Json]:
        raise ObjectRefusedError(f"GET {path}: forbidden")

    monkeypatch.setattr(world.cluster, "metadata", refused)
    await world.turn(20)
    assert world.target.minimum == 9


async def test_a_restart_continues_after_the_newest_decision_of_each_policy() -> None:
    world = a_world(an_unfinished_decision(DecisionPhase.SUCCEEDED))
    await world.turn(1)
    (new_decision,) = [
        name for name, row in world.decisions.rows.items() if row.policy == "orders" and name != "orders-1"
    ]
    assert new_decision == decision_name("orders", decision_id("orders-uid", 1, "orders-1", 4, 8))
