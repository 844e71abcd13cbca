"""Scaling decisions: the record, and clearing what is stuck."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from predictive_scaling.api.answers import answer, encoded
from predictive_scaling.api.commands import CLEAR_STUCK, Accepted, ask
from predictive_scaling.api.fields import Name, QueryModel, ResponseModel, Time
from predictive_scaling.api.services import Use
from predictive_scaling.storage.scaling_decisions import DecisionStatus

router = APIRouter(prefix="/scaling/decisions", tags=["decisions"])

_MAX_CURSOR = 512


class DecisionFilter(QueryModel):
    """Which decisions."""

    limit: Annotated[int, Field(ge=1, le=500, description="How many at most.")] = 50
    status: Annotated[DecisionStatus | None, Field(description="Only those that stand here.")] = None
    service: Annotated[Name | None, Field(description="Only those of this service.")] = None
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=_MAX_CURSOR, description="`next_cursor` of the page before.")
    ] = None


class Decision(ResponseModel):
    """One change of a floor that was decided, applied or not."""

    id: str = Field(description="Also the name of its ScalingDecision while that is kept in the cluster.")
    created_at: Time
    service_name: str
    namespace: str
    policy: str
    target: str = Field(description="Kind and name of what is scaled.")
    decision_type: str = Field(description="scale_up or scale_down.")
    status: DecisionStatus
    from_replicas: int
    to_replicas: int
    uncapped_replicas: int = Field(description="What would have been asked for without limits.")
    source: str = Field(description="Which wish won: Forecast, Event, Minimum or Fallback.")
    reason: str
    message: str = Field(description="Why, in one sentence.")
    outcome: str | None = Field(description="How it ended, in one sentence; null while it is open.")
    started_at: Time | None
    finished_at: Time | None


class Decisions(ResponseModel):
    """Newest first."""

    decisions: list[Decision]
    next_cursor: str | None = Field(description="Asks for what follows; null at the end.")


class Cleared(ResponseModel):
    """What was cleared."""

    cleared: int = Field(description="How many stuck decisions were cancelled.")


@router.get("", response_model=Decisions)
async def list_decisions(question: Annotated[DecisionFilter, Query()], request: Request, services: Use) -> Response:
    """Decisions, newest first, a page at a time."""
    page = await services.decisions.page(
        question.limit, status=question.status, service=question.service, cursor=question.cursor
    )
    decisions = [{name: getattr(row, name) for name in Decision.model_fields} for row in page.decisions]
    return answer(request, encoded({"decisions": decisions, "next_cursor": page.next_cursor}))


@router.delete("/stuck", response_model=Cleared, responses={202: {"model": Accepted}})
async def clear_stuck_decisions(services: Use) -> Response:
    """Ask the operator to cancel unfinished decisions whose deadline has passed. 202 while it has not answered."""
    return await ask(services, CLEAR_STUCK, lambda told: JSONResponse(Cleared(**told).model_dump()))
