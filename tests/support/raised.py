"""A control loop in memory with one raise, whose new pods are as a test says."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from predictive_scaling.decision.inputs import RaiseHold
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.targets.port import ReplicaSource
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.pods import Json, a_container, a_crashing_pod_body, a_pod_body, an_unschedulable_pod_body

PODS = "/api/v1/namespaces/shop/pods"
PodBody = Callable[[str], Json]


def crashing(name: str) -> Json:
    """A pod of the raise in CrashLoopBackOff."""
    return a_crashing_pod_body(name, NOON + timedelta(seconds=5))


def unready(name: str) -> Json:
    """A pod of the raise that runs and is not ready."""
    running = a_container(state={"running": {}})
    return a_pod_body(running, name=name, created_at=NOON + timedelta(seconds=5))


def unschedulable(name: str) -> Json:
    """A pod of the raise without a node."""
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
    def hold(self) -> RaiseHold:
        """The hold of the last raise that did harm."""
        (record,) = self.records[PolicyKey("shop", "checkout")]
        hold = self.states.of(record, self.clock.now()).raise_hold
        assert hold is not None
        return hold

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        """The status and cause of each decision, oldest first."""
        return [(row.status, row.cause) for row in self.decisions.rows.values()]
