"""Decisions that an earlier process left unfinished: each is recovered on its own and delays no other policy."""

from dataclasses import replace
from typing import Any

import pytest

from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.control.actuation import recovery as module
from predictive_scaling.decision.decision_state import decision_id, decision_name
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.errors import ClusterUnavailableError, TargetRefusedError, TargetUnsupportedError
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.scaling_decisions import UNFINISHED, ScalingDecisionRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.decision_rows import a_raise_row
from tests.support.manual_seconds import ManualSeconds

pytestmark = pytest.mark.usefixtures("logs")

DECISIONS = "/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingdecisions"


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> ManualSeconds:
    return ManualSeconds(monkeypatch, module)


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
    metadata = policy.metadata.model_copy(update={"name": "orders", "uid": "uid-of-orders"})
    return policy.model_copy(update={"metadata": metadata})


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
    row = a_raise_row("orders", phase=phase, target="workload/orders")
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
    phase: DecisionPhase, error: Exception, seconds: ManualSeconds
) -> None:
    row = a_raise_row("orders", phase=phase)
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
    row = a_raise_row("orders", phase=DecisionPhase.EXECUTING)
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
    row = a_raise_row("orders", phase=DecisionPhase.EXECUTING, policy_uid="before")
    world = a_world(row)
    await world.turn(20)
    assert world.decisions.rows[row.id].status == "cancelled"
    assert world.target.minimum == world.targets["orders"].minimum == 9


async def test_a_decision_cleared_while_its_target_is_unobservable_does_not_block_its_policy(
    seconds: ManualSeconds,
) -> None:
    row = a_raise_row("orders", phase=DecisionPhase.PENDING)
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


async def test_many_decisions_are_recovered_although_some_requests_fail(seconds: ManualSeconds) -> None:
    world = a_world(a_raise_row("orders", phase=DecisionPhase.PENDING))
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = ClusterUnavailableError("away")
    for number in range(2, 30):
        world.decisions.rows[f"orders-{number}"] = a_raise_row("orders", number, phase=DecisionPhase.PENDING)
    other = a_raise_row("orders", 99, phase=DecisionPhase.PENDING, policy="gone", policy_uid="gone")
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
    world = a_world(a_raise_row("orders", phase=DecisionPhase.SUCCEEDED))
    await world.turn(1)
    (new_decision,) = [
        name for name, row in world.decisions.rows.items() if row.policy == "orders" and name != "orders-1"
    ]
    assert new_decision == decision_name("orders", decision_id("uid-of-orders", 1, "orders-1", 4, 8))


@pytest.mark.parametrize("mode", ["Auto", "Recommend"])
async def test_restarts_do_not_start_the_step_of_a_period_again(mode: str) -> None:
    world = World(a_policy(mode=mode, scaleUp={"maxStep": "2", "period": "10m"}))
    for _ in range(4):
        await world.turn(4)
        world.target.settle()
        world.restart()
    assert world.status["floor"] == 4
    await world.turn(30)
    assert world.status["floor"] == 6


@pytest.mark.parametrize("has_database", [True, False])
async def test_each_change_of_a_period_counts_after_a_restart(*, has_database: bool) -> None:
    world = World(a_policy(scaleUp={"maxStep": "3", "period": "30m"}), demand=380.0)
    await world.turn(8)
    world.forecaster.demand = world.source.demand = 880.0
    await world.turn(8)
    assert [(row.from_replicas, row.to_replicas) for row in world.decisions.rows.values()] == [(2, 4), (4, 5)]
    if not has_database:
        world.lose_database()
    world.restart()
    await world.turn(20)
    world.regain_database()
    await world.turn(20)
    assert world.target.minimum == 5
    await world.turn(130)
    assert world.target.minimum == 8


@pytest.mark.parametrize("phase", UNFINISHED)
async def test_a_decision_for_a_kind_that_was_removed_does_not_hold_its_policy(phase: DecisionPhase) -> None:
    row = a_raise_row("orders", phase=phase)
    world = a_world(row)
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = TargetUnsupportedError("the API server has no kind Rollout; install the CustomResourceDefinition")
    await world.turn(2)
    assert world.recovery.held() == {}
    conditions = world.policy("orders")["status"]["conditions"]
    (ready,) = [condition for condition in conditions if condition["type"] == "Ready"]
    assert ready["reason"] == "TargetUnsupported"
    orders.error = None
    await world.turn(20)
    assert orders.minimum == 9


async def test_a_raise_is_verified_only_after_its_target_was_observed(seconds: ManualSeconds) -> None:
    """Without the release of its pods it could not be rolled back."""
    world = a_world(a_raise_row("orders", phase=DecisionPhase.VERIFYING))
    orders = world.targets["orders"]
    assert isinstance(orders, UnobservableTarget)
    orders.error = ClusterUnavailableError("the API server did not answer")
    await world.turn(1)
    assert world.verification.open_names.isdisjoint({"orders-1"})
    orders.error = None
    seconds.now += 301
    await world.turn(1)
    assert world.decisions.rows["orders-1"].status == "succeeded"


@pytest.mark.parametrize("status", ["pending", "executing", "verifying"])
async def test_a_row_follows_a_roll_back_that_the_database_missed_with_its_cause(status: str) -> None:
    world = World()
    await world.turn()
    (row,) = world.decisions.rows.values()
    world.decisions.rows[row.id] = replace(row, status=status)
    shown = world.cluster.objects[f"{DECISIONS}/{row.id}"]
    shown["status"] = {"phase": "RolledBack", "cause": "CrashLoop", "message": "CrashLoop: 7 of 9 pods crash."}
    world.lose_database()
    world.restart()
    await world.turn()
    world.regain_database()
    await world.turn()
    followed = world.decisions.rows[row.id]
    assert (followed.status, followed.cause, followed.outcome) == (
        "rolled_back",
        "CrashLoop",
        "CrashLoop: 7 of 9 pods crash.",
    )
    assert shown["status"]["phase"] == world.phases[0] == "RolledBack"
