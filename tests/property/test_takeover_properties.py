"""Take-overs of targets while policies are created, edited and deleted in any order and processes restart."""

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from predictive_scaling.control.actuation.ownership import FINALIZER
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.in_memory import InMemoryTarget
from tests.support.control import World, a_policy_named

ORIGINALS = {"checkout": 2, "orders": 3}
POLICY_NAMES = ("first", "second", "third")
names, targets = st.sampled_from(POLICY_NAMES), st.sampled_from(sorted(ORIGINALS))
modes = st.sampled_from(["Auto", "Auto", "Recommend", "Off"])


class TakeOvers(RuleBasedStateMachine):
    """Three policies on two targets; the demand of each needs nine replicas."""

    def __init__(self) -> None:
        super().__init__()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        self.loop = asyncio.new_event_loop()
        self.policies: dict[str, tuple[str, str]] = {}
        """Mode and target of each existing policy."""
        self.generation = 0
        self.floors: dict[str, int] = {}
        """The highest minimum of each target since a policy acts on it."""

    @initialize()
    def begin(self) -> None:
        self.world = World(a_policy_named("unused", mode="Off"))
        self.world.records.clear()
        self.world.cluster.objects.clear()
        for name, minimum in ORIGINALS.items():
            self.world.targets[name] = InMemoryTarget(minimum, 40, minimum, minimum, uid=f"uid-of-{name}")

    @rule(name=names, mode=modes, hpa=targets)
    def apply(self, name: str, mode: str, hpa: str) -> None:
        """`kubectl apply` of a new or edited policy."""
        known = self.world.records.get(PolicyKey("shop", name))
        if known is not None and known[0].deleted:
            return
        self.generation += 1
        created_at = (
            known[0].created_at if known else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=self.generation)
        )
        policy = a_policy_named(name, generation=self.generation, mode=mode, target=hpa)
        uid = known[0].uid if known else f"uid-{self.generation}"
        metadata = policy.metadata.model_copy(update={"uid": uid})
        status = dict(known[0].status) if known else {}
        self.world.put(policy.model_copy(update={"metadata": metadata}), created_at=created_at, status=status)
        self.policies[name] = (mode, hpa)

    @rule(name=names)
    def delete(self, name: str) -> None:
        if name in self.policies:
            self.world.delete(name)
            del self.policies[name]

    @rule(sync=st.booleans())
    def pass_time(self, sync: bool) -> None:
        """A few ticks. sync: whether the watch reports the operator's own writes meanwhile."""
        self._run(self._ticks(4, sync=sync))

    @rule()
    def restart(self) -> None:
        """The process ends, and the next process lists everything."""
        self.world.sync()
        self.world.restart()

    @invariant()
    def minimums_are_raised_or_restored(self) -> None:
        """Checked after two further ticks."""
        if not hasattr(self, "world"):
            return
        self._run(self._ticks(2, sync=True))
        for target, original in ORIGINALS.items():
            acting = [
                name
                for name, (mode, policy_target) in self.policies.items()
                if mode == "Auto" and policy_target == target
            ]
            minimum = self.world.targets[target].minimum
            if acting:
                assert minimum >= self.floors.get(target, original), f"the floor of {target} fell while {acting} act"
                self.floors[target] = minimum
            else:
                assert minimum == original, f"no policy acts on {target}"
                self.floors.pop(target, None)
            self._check_takeovers(target, original, acting)

    def teardown(self) -> None:
        self.loop.close()
        structlog.reset_defaults()

    def _check_takeovers(self, target: str, original: int, acting: list[str]) -> None:
        waiting = 0
        for name, (mode, policy_target) in self.policies.items():
            policy = self.world.policy(name)
            takeover = policy["status"].get("takeover")
            if takeover is not None and policy["status"]["target"] == f"hpa/{target}":
                assert takeover["originalMinimum"] == original
                assert policy["metadata"]["finalizers"] == [FINALIZER]
                assert name in acting
            conditions = {condition["type"]: condition for condition in policy["status"]["conditions"]}
            is_waiting = conditions["Conflict"]["status"] == "True"
            waiting += is_waiting and name in acting
            if policy_target == target and mode == "Recommend" and acting:
                assert conditions["Conflict"]["reason"] == "TargetHeldByPolicy"
        assert waiting == max(0, len(acting) - 1)

    async def _ticks(self, count: int, *, sync: bool) -> None:
        world = self.world
        for _ in range(count):
            await world.leadership.campaign()
            await world.loop.run()
            await world.refresher.run()
            if sync:
                world.sync()
            world.clock.advance(timedelta(seconds=15))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)


TestTakeOvers = TakeOvers.TestCase
TestTakeOvers.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)
