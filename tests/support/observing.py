"""What tests look at in a cluster, by kubectl."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from predictive_scaling.clock import Clock
from tests.support.demand import record_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl


async def steady_demand(url: str, clock: Clock, service: str, demand: float, ahead: timedelta) -> None:
    """The same demand for the last eight days, and in each minute until `ahead` from now.

    Less history would widen the forecast: youth is not to be trusted.
    """
    now = clock.now()
    recent = now - timedelta(hours=1)
    await record_demand(url, service, now - timedelta(days=8), recent, lambda _: demand, every=timedelta(minutes=5))
    await record_demand(url, service, recent, now + ahead, lambda _: demand)


async def minimum_of(kubectl: Kubectl, name: str = "checkout") -> int:
    """minReplicas of an HPA."""
    return (await kubectl.get("hpa", name))["spec"]["minReplicas"]


async def the_minimum_becomes(kubectl: Kubectl, floor: int, seconds: float = 40) -> None:
    """Wait until the HPA `checkout` has this minimum."""
    await eventually(lambda: minimum_of(kubectl), lambda minimum: minimum == floor, seconds)


async def status_of(kubectl: Kubectl, name: str = "checkout") -> dict[str, Any]:
    """The status of a policy; empty before the first visit."""
    return (await kubectl.get("scalingpolicy", name)).get("status", {})


async def condition_of(kubectl: Kubectl, type_: str, name: str = "checkout") -> dict[str, Any]:
    """A condition of a policy; empty where it has none of the type."""
    conditions = (await status_of(kubectl, name)).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == type_), {})


async def the_condition_becomes(
    kubectl: Kubectl, type_: str, status: str, reason: str | None = None, seconds: float = 30
) -> dict[str, Any]:
    """Wait until a condition of the policy `checkout` has a status and, where given, a reason."""
    holds: Callable[[dict[str, Any]], bool] = lambda found: (  # noqa: E731 (one use, two lines)
        found.get("status") == status and (reason is None or found.get("reason") == reason)
    )
    return await eventually(lambda: condition_of(kubectl, type_), holds, seconds)


async def decisions_of(kubectl: Kubectl) -> list[dict[str, Any]]:
    """All ScalingDecisions of the namespace, oldest first."""
    found = await kubectl.items("scalingdecisions")
    return sorted(found, key=lambda decision: (decision["spec"]["from"], decision["metadata"]["name"]))


async def phases_of(kubectl: Kubectl) -> list[str]:
    """Their phases."""
    return [decision.get("status", {}).get("phase", "") for decision in await decisions_of(kubectl)]
