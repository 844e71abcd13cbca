"""A raise that does harm is reverted, held back, and tried again later (semantics 19)."""

from datetime import timedelta

import pytest

from predictive_scaling.control.actuation.raise_holds import FIRST_HOLD
from predictive_scaling.errors import ClusterUnavailableError
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.builders import NOON
from tests.support.control import an_edited_policy
from tests.support.pods import a_container, a_crashing_pod_body, a_pod_body
from tests.support.raised import PODS, Raised, crashing, unready, unschedulable


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


async def test_a_smaller_raise_that_succeeds_does_not_end_the_back_off() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    world.source.demand = 280.0
    await world.turn(2)
    world.target.ready_replicas = 3
    await world.turn(2)
    assert (world.target.minimum, world.outcomes[-1]) == (3, ("succeeded", None))
    await world.turn(25)
    world.clock.advance(timedelta(minutes=20))
    await world.turn(2)
    assert [status for status, _ in world.outcomes].count("rolled_back") == 2
    assert (world.target.minimum, world.hold.failures) == (3, 2)


async def test_during_the_back_off_the_floor_does_not_follow_demand_that_falls() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    floors: list[int] = []
    for demand in (680.0, 280.0, 480.0, 180.0):
        world.source.demand = demand
        await world.turn()
        floors.append(world.target.minimum)
    assert floors == [7, 7, 7, 7]


async def test_a_floor_that_demand_raised_during_the_back_off_falls_by_the_usual_rules() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    world.source.demand = 890.0
    await world.turn()
    assert world.target.minimum == 9
    world.source.demand = 280.0
    await world.turn()
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
    assert (world.hold.floor, world.hold.raised_to, world.hold.failures) == (2, 4, 1)


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


async def test_a_restart_before_the_floor_is_lowered_still_reverts_the_raise() -> None:
    world = Raised(crashing)
    await world.turn()
    world.clock.advance(timedelta(minutes=20))
    await world.verification.run()
    assert (world.target.minimum, world.outcomes) == (9, [("rolled_back", "CrashLoop")])
    world.clock.advance(timedelta(hours=1))
    world.restart()
    await world.turn(3)
    assert world.target.minimum == 2


async def test_a_restart_before_the_lower_floor_is_written_still_reverts_the_raise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Raised(crashing)
    await world.turn()
    world.clock.advance(timedelta(minutes=20))
    await world.verification.run()
    with monkeypatch.context() as patch:

        async def ends(_target: InMemoryTarget, floor: int, *, take: bool = False) -> Applied:
            raise ClusterUnavailableError(f"the process ends before {floor} is written, take={take}")

        patch.setattr(InMemoryTarget, "apply", ends)
        await world.turn()
    (_, lowering) = world.decisions.rows.values()
    assert (lowering.reason, lowering.status) == ("RolledBack", "executing")
    world.restart()
    await world.turn(3)
    assert world.target.minimum == 2


async def test_a_restart_after_a_raise_to_the_demand_does_not_repeat_the_raise() -> None:
    world = Raised(crashing)
    await world.pass_deadline()
    world.source.demand = 480.0
    await world.turn()
    assert world.target.minimum == 5
    world.restart()
    await world.turn(3)
    assert world.target.minimum == 5


@pytest.mark.parametrize("restarts", [False, True])
async def test_pods_of_a_target_that_records_no_time_of_its_writes_are_new_after_the_decision(restarts: bool) -> None:
    """The API server keeps no time of writes through /scale."""
    world = Raised(crashing)
    world.target.written_at = None
    await world.turn()
    if restarts:
        world.restart()
    world.clock.advance(timedelta(minutes=20))
    await world.turn(3)
    assert (world.target.minimum, world.outcomes[0]) == (2, ("rolled_back", "CrashLoop"))


async def test_pods_that_crashed_before_the_decision_are_not_those_of_the_raise() -> None:
    world = Raised(lambda name: a_crashing_pod_body(name, NOON - timedelta(minutes=1)))
    world.target.written_at = None
    await world.pass_deadline()
    assert (world.target.minimum, world.outcomes) == (9, [("failed", "CrashLoop")])


@pytest.mark.parametrize(("ready_new", "minimum"), [(0, 2), (1, 9)])
@pytest.mark.parametrize("restarts", [False, True])
async def test_ready_pods_of_the_second_of_the_write_may_be_older(ready_new: int, minimum: int, restarts: bool) -> None:
    """The API server stamps full seconds; two pods were ready before the write."""
    world = Raised(lambda name: a_crashing_pod_body(name, NOON))
    for name in ("old-0", "old-1", "new-0")[: 2 + ready_new]:
        body = a_pod_body(a_container(state={"running": {}}), name=name, ready=True, created_at=NOON)
        world.cluster.objects[f"{PODS}/{name}"] = body
    await world.turn()
    world.target.ready_replicas = 2 + ready_new
    if restarts:
        world.restart()
    world.clock.advance(timedelta(minutes=20))
    await world.turn(3)
    assert world.target.minimum == minimum


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
