"""Reads of the cluster by kubectl, and waits for a state of it."""

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import Any

from psycopg.rows import class_row

from predictive_scaling.clock import Clock
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow
from tests.support.demand import record_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl


async def record_steady_demand(url: str, clock: Clock, service: str, demand: float, ahead: timedelta) -> None:
    """Record a constant demand for the last eight days and for each minute until `ahead` from now.

    With less history the cold-start factor would widen the forecast.
    """
    now = clock.now()
    recent = now - timedelta(hours=1)
    await record_demand(url, service, now - timedelta(days=8), recent, lambda _: demand, interval=timedelta(minutes=5))
    await record_demand(url, service, recent, now + ahead, lambda _: demand)


async def get_minimum(kubectl: Kubectl, name: str = "checkout") -> int:
    """Return minReplicas of an HPA."""
    return (await kubectl.get("hpa", name))["spec"]["minReplicas"]


async def wait_for_minimum(kubectl: Kubectl, floor: int, seconds: float = 40) -> None:
    """Wait until the HPA `checkout` has this minimum."""
    await eventually(lambda: get_minimum(kubectl), lambda minimum: minimum == floor, seconds)


async def get_status(kubectl: Kubectl, name: str = "checkout") -> dict[str, Any]:
    """Return the status of a policy; empty before the first reconciliation."""
    return (await kubectl.get("scalingpolicy", name)).get("status", {})


async def get_condition(kubectl: Kubectl, type_: str, name: str = "checkout") -> dict[str, Any]:
    """Return a condition of a policy; empty if the policy has no condition of this type."""
    conditions = (await get_status(kubectl, name)).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == type_), {})


async def wait_for_condition(
    kubectl: Kubectl, type_: str, status: str, reason: str | None = None, seconds: float = 30
) -> dict[str, Any]:
    """Wait until a condition of the policy `checkout` has this status and, if set, this reason."""
    is_reached: Callable[[dict[str, Any]], bool] = lambda condition: (  # noqa: E731 (one use, two lines)
        condition.get("status") == status and (reason is None or condition.get("reason") == reason)
    )
    return await eventually(lambda: get_condition(kubectl, type_), is_reached, seconds)


async def wait_for_event(kubectl: Kubectl, reason: str) -> None:
    """Wait until `kubectl describe` shows an Event of the policy `checkout` with this reason; Events follow writes."""
    await eventually(lambda: kubectl("describe", "sp", "checkout"), lambda description: reason in description)


async def wait_for_raise(kubectl: Kubectl, floor: int) -> dict[str, Any]:
    """Wait until the decision for this floor has succeeded and all others have ended; return it.

    A step whose pods become ready late is superseded by the next step.
    """

    def has_ended(decisions: list[dict[str, Any]]) -> bool:
        phases = [decision.get("status", {}).get("phase") for decision in decisions]
        return set(phases) <= {"Succeeded", "Superseded"} and (decisions[-1]["spec"]["to"], phases[-1]) == (
            floor,
            "Succeeded",
        )

    decisions = await eventually(
        lambda: get_decisions(kubectl), lambda decisions: bool(decisions) and has_ended(decisions), seconds=60
    )
    return decisions[-1]


async def get_decisions(kubectl: Kubectl) -> list[dict[str, Any]]:
    """Return all ScalingDecisions of the namespace, oldest first."""
    decisions = await kubectl.items("scalingdecisions")
    return sorted(decisions, key=lambda decision: (decision["spec"]["from"], decision["metadata"]["name"]))


async def recorded_decisions(url: str) -> list[ScalingDecisionRow]:
    """Return all decisions in the database, oldest first."""
    columns = ", ".join(field.name for field in fields(ScalingDecisionRow))
    async with (
        Database(url, purpose="tests", max_size=1) as database,
        database.connection() as connection,
        connection.cursor(row_factory=class_row(ScalingDecisionRow)) as cursor,
    ):
        await cursor.execute(f"select {columns} from scaling_decisions order by created_at, id".encode())
        return await cursor.fetchall()


async def get_phases(kubectl: Kubectl) -> list[str]:
    """Return the phases of all ScalingDecisions of the namespace."""
    return [decision.get("status", {}).get("phase", "") for decision in await get_decisions(kubectl)]
