"""Where every policy stands, and all of them together."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from predictive_scaling.api.answers import answer, encoded
from predictive_scaling.api.fields import NextCursor, Number, PageQuery, ResponseModel, Time
from predictive_scaling.api.services import Use
from predictive_scaling.storage.policies import PolicyRow

router = APIRouter(prefix="/scaling", tags=["status"])


class Condition(ResponseModel):
    """A condition of the policy, as `kubectl describe` shows it."""

    type: str
    status: str = Field(description="True, False or Unknown.")
    reason: str
    message: str
    observed_generation: int | None
    last_transition_time: str | None


class Advice(ResponseModel):
    """What the policy might be set to instead."""

    quantile: Number
    target_utilization: Number = Field(description="A ratio.")
    replica_hours_saved: Number
    message: str | None


class PolicyStatus(ResponseModel):
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


class Summary(ResponseModel):
    """All policies together."""

    policies: int
    auto: int = Field(description="Policies in mode Auto.")
    limited: int = Field(description="Policies whose maximum cuts what is needed.")
    fallback: int = Field(description="Policies that act on their fallback.")
    stuck_decisions: int = Field(description="Unfinished decisions whose deadline has passed.")
    success_rate_24h: Number = Field(description="Of executed decisions; null when there was none.")


class ScalingStatus(ResponseModel):
    """A page of the policies, and all of them in numbers."""

    policies: list[PolicyStatus] = Field(description="By namespace and name.")
    summary: Summary = Field(description="Over all policies, whatever the page.")
    next_cursor: NextCursor


@router.get("/status", response_model=ScalingStatus)
async def show_status(question: Annotated[PageQuery, Query()], request: Request, services: Use) -> Response:
    """Policies by namespace and name, a page at a time, and a summary of all."""
    now = services.clock.now()

    async def fragment() -> bytes:
        page = await services.policies.page(question.limit, cursor=question.cursor, with_forecast=False)
        counts = await services.policies.counts()
        shown = {"policies": [policy_status(row) for row in page.policies], "next_cursor": page.next_cursor}
        return encoded([shown, asdict(counts)])

    key = f"scaling/status?limit={question.limit}&cursor={question.cursor or ''}"
    kept = await services.answers.get(key, await services.policies.version(), fragment)
    shown, counts = msgspec.json.decode(kept, type=tuple[dict[str, msgspec.Raw], dict[str, int]])

    async def success_rate() -> float | None:
        return await services.decisions.success_rate(now - timedelta(hours=24))

    summary = counts | {
        "stuck_decisions": await services.decisions.count_stuck(now),
        "success_rate_24h": await services.success_rate.get(success_rate),
    }
    return answer(request, encoded({**shown, "summary": summary}))


def policy_status(row: PolicyRow) -> dict[str, Any]:
    """A row as PolicyStatus describes it."""
    return {
        "namespace": row.namespace,
        "policy": row.policy,
        "service_name": row.service_name,
        "mode": row.mode,
        "target": row.target,
        "min_replicas": row.min_replicas,
        "max_replicas": row.max_replicas,
        "floor": row.floor,
        "current_replicas": row.current_replicas,
        "ready_replicas": row.ready_replicas,
        "source": row.source,
        "limited": row.limited,
        "conditions": [condition(each) for each in row.conditions],
        "last_decision_at": row.last_decision_at,
        "advice": None if row.advice is None else _advice(row.advice),
    }


def condition(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A condition of the status as Condition describes it."""
    return {
        "type": stored.get("type", ""),
        "status": stored.get("status", "Unknown"),
        "reason": stored.get("reason", ""),
        "message": stored.get("message", ""),
        "observed_generation": stored.get("observedGeneration"),
        "last_transition_time": stored.get("lastTransitionTime"),
    }


def _advice(stored: Mapping[str, Any]) -> dict[str, Any]:
    percent = _decimal(stored.get("targetUtilization"))
    return {
        "quantile": _decimal(stored.get("quantile")),
        "target_utilization": None if percent is None else percent / 100,
        "replica_hours_saved": _decimal(stored.get("replicaHoursSaved")),
        "message": stored.get("message"),
    }


def _decimal(value: object) -> float | None:
    """Manifests write decimals as text; what is no number is not known."""
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None
