"""All targets get their minimum back before the operator is removed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from predictive_scaling.cluster.client import ObjectRefusedError
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.actuation.headroom_objects import POLICY_LABEL, PlaceholderOptions
from predictive_scaling.control.actuation.headroom_writer import HeadroomWriter
from predictive_scaling.control.actuation.ownership import path_of
from predictive_scaling.control.jobs import restore_all
from predictive_scaling.control.jobs.restore_all import RestoreAll
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.errors import LeadershipLostError, TargetRefusedError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.control import World, a_policy_named

pytestmark = pytest.mark.usefixtures("logs")

CHECKOUT, SEARCH = PolicyKey("shop", "checkout"), PolicyKey("shop", "search")
PLACEHOLDERS = "/apis/apps/v1/namespaces/shop/deployments/checkout-headroom"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions follow at once."""
    monkeypatch.setattr(restore_all, "_RETRY_SECONDS", 0.0)


class RefusingTarget(InMemoryTarget):
    """Refuses to be restored as long as `refusals` lasts."""

    refusals = 10**9

    async def restore(self, floor: int) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise TargetRefusedError("a webhook refuses it")
        await super().restore(floor)


async def a_world(search: InMemoryTarget | None = None) -> World:
    """Two policies that hold their targets at 9, after the operator that raised them was stopped."""
    world = World(a_policy_named("checkout"), a_policy_named("search", target="search"))
    world.targets["search"] = search or InMemoryTarget(minimum=3, maximum=40, replicas=3, ready_replicas=3)
    await world.turn(20, timedelta(minutes=1))
    assert [target.minimum for target in world.targets.values()] == [9, 9]
    world.restart()
    await world.leadership.campaign()
    return world


def a_job(world: World, leads: Callable[[], bool] = lambda: True) -> RestoreAll:
    headroom = HeadroomWriter(world.cluster, PlaceholderOptions("pause", "placeholder"))
    restoration = world.loop.reconciler.restoration
    return RestoreAll(world.informer_cache, world.states, restoration, headroom, world.clock, leads, in_flight=2)


def finalizers(world: World, key: PolicyKey) -> Any:
    return world.cluster.objects[path_of(key)]["metadata"].get("finalizers")


async def test_every_target_gets_its_minimum_back_and_the_policies_stay_without_finalizer() -> None:
    world = await a_world()
    restored = await a_job(world).run(60)
    assert (restored.policies, restored.failures) == (2, {})
    assert [world.target.minimum, world.targets["search"].minimum] == [2, 3]
    for key in (CHECKOUT, SEARCH):
        assert not finalizers(world, key)
        assert world.cluster.objects[path_of(key)]["status"].get("takeover") is None
    assert (await a_job(world).run(60)).policies == 0


async def test_an_operator_that_is_installed_again_raises_the_floors_again() -> None:
    world = await a_world()
    await a_job(world).run(60)
    world.sync()
    world.restart()
    await world.turn(20, timedelta(minutes=1))
    assert [world.target.minimum, world.targets["search"].minimum] == [9, 9]
    assert world.status["takeover"]["originalMinimum"] == 2


async def test_a_refusal_is_reported_and_affects_no_other_policy() -> None:
    world = await a_world(RefusingTarget(minimum=3, maximum=40, replicas=3, ready_replicas=3))
    restored = await a_job(world).run(0)
    assert restored.policies == 1
    assert restored.failures.keys() == {SEARCH}
    assert "a webhook refuses it" in restored.failures[SEARCH]
    assert world.target.minimum == 2
    assert finalizers(world, SEARCH)


async def test_what_fails_is_repeated() -> None:
    target = RefusingTarget(minimum=3, maximum=40, replicas=3, ready_replicas=3)
    world = await a_world(target)
    target.refusals = 3
    restored = await a_job(world).run(3600)
    assert (restored.policies, restored.failures) == (2, {})
    assert target.minimum == 3


async def test_an_unreadable_status_is_reported_with_its_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()
    of = PolicyStates.of

    def unreadable(states: PolicyStates, record: PolicyRecord, now: datetime) -> PolicyState:
        if record.key == CHECKOUT:
            raise ValueError("not a status")
        return of(states, record, now)

    monkeypatch.setattr(PolicyStates, "of", unreadable)
    restored = await a_job(world).run(0)
    assert restored.failures == {CHECKOUT: "ValueError: not a status"}
    assert world.targets["search"].minimum == 3


async def test_nothing_is_written_without_the_lease() -> None:
    world = await a_world()
    with pytest.raises(LeadershipLostError):
        await a_job(world, leads=lambda: False).run(60)
    assert [world.target.minimum, world.targets["search"].minimum] == [9, 9]


async def test_placeholders_are_removed_and_deployments_of_others_are_not() -> None:
    world = await a_world()
    labels = {"app.kubernetes.io/managed-by": "predictive-scaling", POLICY_LABEL: "uid-of-checkout"}
    for path, its_labels in ((PLACEHOLDERS, labels), (PLACEHOLDERS.replace("checkout", "other"), {})):
        metadata = {"name": path.rpartition("/")[2], "namespace": "shop", "labels": its_labels, "uid": path}
        world.cluster.objects[path] = {"metadata": metadata | {"resourceVersion": "1"}, "spec": {"replicas": 2}}
    await a_job(world).run(60)
    assert [path for path in world.cluster.objects if path.endswith("-headroom")] == [
        PLACEHOLDERS.replace("checkout", "other")
    ]


async def test_a_refused_list_of_placeholders_does_not_keep_targets_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await a_world()

    async def refuse(*_: Any, **__: Any) -> Any:
        raise ObjectRefusedError("deployments is forbidden")

    monkeypatch.setattr(world.cluster, "items", refuse)
    restored = await a_job(world).run(60)
    assert restored.policies == 2
    assert world.target.minimum == 2
