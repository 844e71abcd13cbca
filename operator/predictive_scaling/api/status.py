"""Where every policy stands, and all of them together."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query
from pydantic import Field

from predictive_scaling.api.fields import Answer, Number, Question, Time
from predictive_scaling.api.services import Use
from predictive_scaling.storage.policies import PolicyRow

router = APIRouter(prefix="/scaling", tags=["status"])


class Condition(Answer):
    """A condition of the policy, as `kubectl describe` shows it."""

    type: str
    status: str = Field(description="True, False or Unknown.")
    reason: str
    message: str
    observed_generation: int | None
    last_transition_time: str | None


class Advice(Answer):
    """What the policy might be set to instead."""

    quantile: Number
    target_utilization: Number = Field(description="A ratio.")
    replica_hours_saved: Number
    message: str | None


class PolicyStatus(Answer):
    """One policy as the operator last saw it; null: not known yet."""

    namespace: str
    policy: str
    service_name: str | None = Field(description="Null, as mode to max_replicas, where the policy cannot be read.")
    mode: str | None = Field(description="Off, Recommend or Auto.")
    target: str | None
    min_replicas: int | None
    max_replicas: int | None
    floor: int | None = Field(description="The minimum that is held (in Recommend: would be).")
    current_replicas: int | None
    ready_replicas: int | None
    source: str | None = Field(description="Which wish holds the floor: Forecast, Event, Minimum or Fallback.")
    limited: bool = Field(description="The maximum cuts what is needed.")
    conditions: list[Condition]
    last_decision_at: Time | None
    advice: Advice | None


class Summary(Answer):
    """All policies together."""

    policies: int
    auto: int = Field(description="Policies in mode Auto.")
    limited: int = Field(description="Policies whose maximum cuts what is needed.")
    fallback: int = Field(description="Policies that act on their fallback.")
    stuck_decisions: int = Field(description="Unfinished decisions whose deadline has passed.")
    success_rate_24h: Number = Field(description="Of executed decisions; null when there was none.")


class ScalingStatus(Answer):
    """Everything at a glance."""

    policies: list[PolicyStatus]
    summary: Summary


@router.get("/status")
async def show_status(_: Annotated[Question, Query()], services: Use) -> ScalingStatus:
    """Every policy, by namespace and name, and a summary."""
    now = services.clock.now()
    rows = await services.policies.all()
    stuck = await services.decisions.stuck(now)
    rate = await services.decisions.success_rate(now - timedelta(hours=24))
    return ScalingStatus(policies=[policy_status(row) for row in rows], summary=_summary(rows, len(stuck), rate))


def policy_status(row: PolicyRow) -> PolicyStatus:
    """A row as it goes out."""
    return PolicyStatus(
        namespace=row.namespace,
        policy=row.policy,
        service_name=row.service_name,
        mode=row.mode,
        target=row.target,
        min_replicas=row.min_replicas,
        max_replicas=row.max_replicas,
        floor=row.floor,
        current_replicas=row.current_replicas,
        ready_replicas=row.ready_replicas,
        source=row.source,
        limited=row.limited,
        conditions=[condition(each) for each in row.conditions],
        last_decision_at=row.last_decision_at,
        advice=None if row.advice is None else _advice(row.advice),
    )


def condition(stored: Mapping[str, Any]) -> Condition:
    """A condition of the status, in this API's names."""
    return Condition(
        type=stored.get("type", ""),
        status=stored.get("status", "Unknown"),
        reason=stored.get("reason", ""),
        message=stored.get("message", ""),
        observed_generation=stored.get("observedGeneration"),
        last_transition_time=stored.get("lastTransitionTime"),
    )


def _advice(stored: Mapping[str, Any]) -> Advice:
    percent = _decimal(stored.get("targetUtilization"))
    return Advice(
        quantile=_decimal(stored.get("quantile")),
        target_utilization=None if percent is None else percent / 100,
        replica_hours_saved=_decimal(stored.get("replicaHoursSaved")),
        message=stored.get("message"),
    )


def _decimal(value: object) -> float | None:
    """Manifests write decimals as text."""
    return float(cast("str | float", value)) if isinstance(value, str | int | float) else None


def _summary(rows: Sequence[PolicyRow], stuck: int, rate: float | None) -> Summary:
    return Summary(
        policies=len(rows),
        auto=sum(row.mode == "Auto" for row in rows),
        limited=sum(row.limited for row in rows),
        fallback=sum(row.source == "Fallback" for row in rows),
        stuck_decisions=stuck,
        success_rate_24h=rate,
    )
