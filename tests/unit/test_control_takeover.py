"""Whose minimum it is: what was there before us comes back, whatever happens to policies, targets and processes."""

from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from predictive_scaling.cluster.client import Json, ObjectRefusedError
from predictive_scaling.control.actuation import execution
from predictive_scaling.control.actuation import restoration as restore
from predictive_scaling.control.actuation.ownership import FINALIZER, path_of
from predictive_scaling.errors import TargetRefusedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.targets.port import Applied
from tests.support.control import World, a_policy_named

OLDER, YOUNGER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def logs() -> Generator[None]:
    with capture_logs():
        yield


async def two_policies() -> World:
    """`older` acts on hpa/checkout, `younger` waits behind it."""
    world = World(a_policy_named("older"))
    world.put(a_policy_named("older"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert world.target.minimum == 9
    return world


def takeover_of(world: World, name: str) -> dict[str, Any]:
    return world.policy(name)["status"].get("takeover", {})


def condition_of(world: World, name: str, type_: str) -> dict[str, Any]:
    return next(one for one in world.policy(name)["status"]["conditions"] if one["type"] == type_)


def names_of(world: World) -> list[str]:
    return [key.name for key in world.records]


async def test_deleting_the_acting_policy_hands_its_takeover_to_the_next_without_a_dip() -> None:
    world = await two_policies()
    assert condition_of(world, "younger", "Conflict")["reason"] == "TargetHeldByPolicy"
    world.delete("older")
    await world.turn(1)
    assert names_of(world) == ["younger"]
    assert world.target.minimum == 9
    assert takeover_of(world, "younger")["originalMinimum"] == 2
    assert condition_of(world, "younger", "Conflict")["status"] == "False"
    world.delete("younger")
    await world.turn(1)
    assert (names_of(world), world.target.minimum) == ([], 2)


async def test_deleting_a_waiting_policy_leaves_the_floor_of_the_acting_one() -> None:
    world = await two_policies()
    world.delete("younger")
    await world.turn(2)
    assert (names_of(world), world.target.minimum) == (["older"], 9)


@pytest.mark.parametrize("ends", ["deleted", "off", "recommend", "retargeted"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_an_older_policy_that_begins_to_act_takes_over_what_is_to_be_restored(ends: str, restarted: bool) -> None:
    world = World(a_policy_named("older", mode="Off"))
    world.put(a_policy_named("older", mode="Off"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert (world.target.minimum, takeover_of(world, "younger")["originalMinimum"]) == (9, 2)

    world.put(a_policy_named("older", generation=2), created_at=OLDER)
    if restarted:
        world.restart()
    await world.turn(4)
    assert takeover_of(world, "older")["originalMinimum"] == 2
    assert takeover_of(world, "younger") == {}
    assert condition_of(world, "younger", "Conflict")["status"] == "True"
    world.delete("younger")
    await world.turn(2)
    assert world.target.minimum == 9

    if ends == "deleted":
        world.delete("older")
    else:
        spec: dict[str, Any] = {"off": {"mode": "Off"}, "recommend": {"mode": "Recommend"}}.get(
            ends, {"target": "orders"}
        )
        world.targets["orders"] = InMemoryTarget(3, 40, 3, 3, uid="orders")
        world.put(a_policy_named("older", generation=3, **spec), created_at=OLDER)
    await world.turn(2)
    assert world.target.minimum == 2


async def test_a_policy_that_only_recommends_does_not_keep_another_from_acting() -> None:
    world = World(a_policy_named("older", mode="Recommend"))
    world.put(a_policy_named("older", mode="Recommend"), created_at=OLDER)
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    await world.turn(20)
    assert world.target.minimum == 9
    assert condition_of(world, "older", "Conflict")["reason"] == "TargetHeldByPolicy"


async def test_a_crash_while_a_takeover_is_handed_on_loses_nothing() -> None:
    world = await two_policies()
    world.put(a_policy_named("younger"), created_at=YOUNGER)
    # Both have recorded the take-over; the older one was not yet let go.
    younger = world.policy("younger")
    younger["status"]["takeover"] = dict(takeover_of(world, "older"))
    younger["status"]["target"] = "hpa/checkout"
    younger["metadata"]["finalizers"] = [FINALIZER]
    world.sync()
    world.delete("older")
    world.restart()
    await world.turn(2)
    assert (names_of(world), world.target.minimum) == (["younger"], 9)
    world.delete("younger")
    await world.turn(2)
    assert (names_of(world), world.target.minimum) == ([], 2)


async def test_a_policy_retargeted_and_deleted_at_once_restores_its_new_target() -> None:
    world = World()
    await world.turn(20)
    old, new = world.target, InMemoryTarget(3, 40, 3, 3, uid="orders")
    world.targets["orders"] = new
    world.put(a_policy_named_checkout(generation=2, target="orders"))
    await world.loop.run()
    assert (old.minimum, new.minimum) == (2, 6)
    assert world.policy()["metadata"]["finalizers"] == [FINALIZER]
    world.delete("checkout")
    await world.turn(1)
    assert (world.records, new.minimum) == ({}, 3)


def a_policy_named_checkout(**spec: Any) -> Any:
    """The world's own policy, edited."""
    policy = a_policy_named("checkout", **spec)
    (record,) = World().records[PolicyKey("shop", "checkout")]
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"uid": record.uid})})


async def test_a_finalizer_that_somebody_took_off_is_put_back_before_the_next_write() -> None:
    world = World()
    await world.turn(1)
    del world.policy()["metadata"]["finalizers"]
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.policy()["metadata"]["finalizers"] == [FINALIZER]


class Killed(BaseException):
    """Ends a process, past all that catches errors."""


async def killed_at(world: World, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process ends there, and the world goes on with another one."""

    def reached(name: str) -> None:
        if name == point:
            raise Killed

    monkeypatch.setattr(execution, "failpoint", reached)
    with pytest.raises(BaseExceptionGroup):
        await world.turn(2)
    monkeypatch.undo()
    world.sync()


@pytest.mark.parametrize("generation", [1, 2])
async def test_a_minimum_set_after_a_crash_between_write_and_record_is_respected(
    monkeypatch: pytest.MonkeyPatch, generation: int
) -> None:
    world = World()
    if generation == 2:
        await world.turn(1, step=timedelta())
        world = World()
        world.put(a_policy_named_checkout(generation=2), status={"observedGeneration": 1})
    await killed_at(world, "operator.after_apply", monkeypatch)
    assert world.target.minimum == 4
    world.target.foreign_write(3)
    world.restart()
    await world.turn(20)
    assert world.target.minimum == 3
    assert world.condition("Conflict")["reason"] == "ForeignWriter"
    assert takeover_of(world, "checkout")["originalMinimum"] == 2


async def test_a_crash_before_the_first_write_is_no_conflict_with_who_held_the_field_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await killed_at(world, "operator.after_intent", monkeypatch)
    assert (world.target.minimum, takeover_of(world, "checkout")["written"]) == (2, True)
    world.restart()
    await world.turn(20)
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"


async def test_a_crash_after_a_person_consented_restores_what_that_person_had_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/resume": "1"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await killed_at(world, "operator.after_apply", monkeypatch)
    world.restart()
    await world.turn(2)
    world.delete("checkout")
    await world.turn(2)
    assert world.target.minimum == 3


async def test_a_resume_annotation_of_any_length_is_acted_on_once() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    annotations = {"predictive-scaling.io/resume": "again " * 1000}
    metadata = record.policy.metadata.model_copy(update={"annotations": annotations})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await world.turn(20)
    assert world.target.minimum == 9
    assert len(takeover_of(world, "checkout")["resume"]) <= 253
    world.target.foreign_write(4)
    world.restart()
    await world.turn(8)
    assert world.target.minimum == 4


async def test_a_given_up_field_is_written_again_at_once_and_the_old_minimum_is_kept() -> None:
    world = World()
    await world.turn(20)
    world.target.give_up()
    assert world.target.minimum == 1
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"
    newest = list(world.decisions.rows.values())[-1]
    assert (newest.from_replicas, newest.to_replicas, newest.reason) == (1, 9, "FieldGivenUp")
    assert "no longer sets it" in newest.message
    world.delete("checkout")
    await world.turn(1)
    assert world.target.minimum == 2


async def test_giving_the_field_up_ends_a_conflict() -> None:
    world = World()
    await world.turn(20)
    world.target.foreign_write(3)
    await world.turn(2)
    assert world.condition("Conflict")["status"] == "True"
    world.target.give_up()
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 9
    assert world.condition("Conflict")["status"] == "False"


async def test_a_paused_policy_does_not_write_a_given_up_field_again() -> None:
    world = World()
    await world.turn(20)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/paused": "true"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    world.target.give_up()
    await world.turn(4)
    assert world.target.minimum == 1


async def test_an_hpa_that_never_stated_a_minimum_is_raised_in_steps() -> None:
    world = World()
    world.target.give_up()
    await world.turn(1, step=timedelta())
    assert world.target.minimum == 2
    await world.turn(20)
    assert world.target.minimum == 9
    world.delete("checkout")
    await world.turn(1)
    assert world.target.minimum == 1


class Refusing(InMemoryTarget):
    """Refuses writes below a minimum, or all of them."""

    refuses_below: int = 1000
    asked: int = 0

    async def apply(self, floor: int, *, take: bool = False) -> Applied:
        if floor < self.refuses_below:
            self.asked += 1
            raise TargetRefusedError(f"denied the value {floor}; ask the admission policy's owner")
        return await InMemoryTarget.apply(self, floor, take=take)

    async def restore(self, floor: int) -> None:
        if floor < self.refuses_below:
            raise TargetRefusedError(f"denied the value {floor}")
        await InMemoryTarget.restore(self, floor)


def refusing(world: World, below: int) -> Refusing:
    """From here on the target refuses such values."""
    target = Refusing(
        world.target.minimum, 40, world.target.replicas, world.target.ready_replicas, managers=world.target.managers
    )
    target.refuses_below = below
    world.targets["checkout"] = world.target = target
    return target


async def test_a_refused_write_shows_the_reason_and_the_floor_as_it_stands_until_it_heals() -> None:
    world = World()
    target = refusing(world, below=1000)
    await world.turn(8)
    ready, active = world.condition("Ready"), world.condition("ScalingActive")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert "denied the value" in ready["message"]
    assert "tried again at" in ready["message"]
    assert (world.status["floor"], target.minimum) == (2, 2)
    assert active["message"].startswith("Hold 2: ")
    assert "Raise" not in active["message"]
    target.refuses_below = 0
    await world.turn(40)
    assert target.minimum == 9
    assert (world.condition("Ready")["status"], world.status["floor"]) == ("True", 9)


async def test_a_refused_decrease_does_not_hold_back_a_raise() -> None:
    world = World()
    await world.turn(20)
    target = refusing(world, below=9)
    target.settle()
    world.source.demand = world.prophet.demand = 500.0
    await world.turn(4 * 20)
    assert world.condition("Ready")["reason"] == "Refused"
    asked = target.asked
    assert asked >= 1
    world.source.demand = world.prophet.demand = 1200.0
    await world.turn(8)
    assert target.minimum == 12
    assert world.condition("Ready")["status"] == "True"


async def test_an_edited_policy_does_not_wait_for_the_refusal_of_the_one_before() -> None:
    world = World()
    target = refusing(world, below=1000)
    await world.turn(2)
    asked, target.refuses_below = target.asked, 0
    world.put(a_policy_named_checkout(generation=2))
    await world.turn(1)
    assert (asked, target.minimum) == (1, 4)


async def test_a_refused_restore_is_shown_and_tried_again_while_the_policy_stays() -> None:
    world = World()
    await world.turn(20)
    target = refusing(world, below=9)
    world.put(a_policy_named_checkout(generation=2, mode="Off"))
    await world.turn(4)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert (target.minimum, world.status["takeover"]["originalMinimum"]) == (9, 2)
    target.refuses_below = 0
    await world.turn(20)
    assert target.minimum == 2
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("failing", ["write", "read"])
async def test_a_deletion_does_not_wait_forever_for_a_target_that_refuses(
    monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    world = World()
    await world.turn(20)
    target = refusing(world, below=9)

    async def forbidden(self: InMemoryTarget) -> Any:
        raise ObjectRefusedError("horizontalpodautoscalers is forbidden")

    if failing == "read":
        monkeypatch.setattr(Refusing, "observe", forbidden)
    seconds = 1000.0
    monkeypatch.setattr(restore, "monotonic", lambda: seconds)
    world.delete("checkout")
    await world.turn(1)
    assert names_of(world) == ["checkout"]
    seconds += restore.TIMEOUT_SECONDS + 1
    await world.turn(1)
    assert (names_of(world), target.minimum) == ([], 9)


async def test_a_pin_is_carried_out_whatever_forecasts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None

    def failing(*_: Any, **__: Any) -> Any:
        raise OverflowError("cannot convert float infinity to integer")

    monkeypatch.setattr(world.loop.reconciler.forecasts, "current", failing)
    monkeypatch.setattr(world.loop.reconciler.forecasts, "baselines", failing)
    monkeypatch.setattr(world.loop.reconciler.window, "newest", failing)
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/pin": "12"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await world.loop.run()
    assert world.target.minimum == 12
    ready = world.condition("ForecastReady")
    assert (ready["status"], ready["reason"]) == ("False", "ForecastFailed")
    assert "OverflowError" in ready["message"]
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("wild", [1e30, 9.3e18, float("inf"), float("nan"), -5.0])
async def test_a_pin_is_carried_out_whatever_the_forecast_says(wild: float) -> None:
    world = World()
    await world.turn(20)
    world.prophet.demand = wild
    await world.turn(4)
    (record,) = world.records[PolicyKey("shop", "checkout")]
    assert record.policy is not None
    metadata = record.policy.metadata.model_copy(update={"annotations": {"predictive-scaling.io/pin": "12"}})
    world.put(record.policy.model_copy(update={"metadata": metadata}))
    await world.turn(1)
    assert world.target.minimum == 12
    assert world.condition("Ready")["status"] == "True"


async def test_a_forecast_that_breaks_the_decision_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    monkeypatch.setattr("predictive_scaling.decision.decide.recommend_from_forecast", raising_with_a_forecast)
    await world.turn(2)
    assert world.target.minimum == 9
    assert world.condition("ForecastReady")["reason"] == "ForecastFailed"


def raising_with_a_forecast(situation: Any, sight: Any, spans: Any) -> None:
    del situation, spans
    if sight.forecast is not None:
        raise ValueError("bins do not fit")


async def test_what_a_replica_carries_is_learned_for_each_metric_by_itself() -> None:
    learned = {"metric": "requests_per_second", "perReplica": "Auto"}
    world = World(a_policy_named("older", demand=learned))
    world.put(a_policy_named("older", demand=learned), created_at=OLDER)
    jobs = {"metric": "queued_jobs", "perReplica": "Auto", "service": "worker"}
    world.put(a_policy_named("younger", demand=jobs, mode="Recommend"), created_at=YOUNGER)
    world.target = world.targets["checkout"] = Measured(2, 40, 2, 2)
    await world.turn(20)
    assert float(world.policy("older")["status"]["perReplica"]) == pytest.approx(880 / (2 * 0.5))
    # It neither holds the target nor knows what its replicas carry.
    assert "perReplica" not in world.policy("younger")["status"]

    world.put(a_policy_named("older", generation=2, demand=jobs), created_at=OLDER)
    await world.turn(1)
    assert "perReplica" not in world.policy("older")["status"]


class Measured(InMemoryTarget):
    """Its replicas are half full."""

    async def observe(self) -> Any:
        return replace(await InMemoryTarget.observe(self), utilization=0.5)


async def test_the_status_of_a_waiting_policy_names_the_one_that_holds_the_target() -> None:
    world = await two_policies()
    assert "ScalingPolicy shop/older" in condition_of(world, "younger", "Conflict")["message"]
    assert "takeover" not in world.policy("younger")["status"]
    assert path_of(PolicyKey("shop", "younger")) in world.cluster.objects


async def test_a_refused_policy_write_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    await world.turn(20)
    apply = world.cluster.apply

    async def forbidden(path: str, body: Json, *, force: bool = False) -> Json:
        if path == path_of(PolicyKey("shop", "checkout")):
            raise ObjectRefusedError("scalingpolicies is forbidden: no permission to patch")
        return await apply(path, body, force=force)

    monkeypatch.setattr(world.cluster, "apply", forbidden)
    world.put(a_policy_named_checkout(generation=2, mode="Off"))
    await world.turn(2)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert "no permission to patch" in ready["message"]
