"""Scaling decisions: the list, and cancelling stuck decisions."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from predictive_scaling.api.commands import CLEAR_STUCK, Accepted, run_command
from predictive_scaling.api.fields import Name, NamespaceQuery, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.queries import documented, query_of
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Services, Use, services_of
from predictive_scaling.api.visible_namespaces import visible_of
from predictive_scaling.resources.vocabulary import DecisionPhase

router = APIRouter(prefix="/scaling/decisions", tags=["decisions"])

_MAX_CURSOR = 512
_STATUSES = [phase.stored for phase in DecisionPhase]


def _parse_status(value: Any) -> DecisionPhase:
    if value not in _STATUSES:
        expected = f"{', '.join(map(repr, _STATUSES[:-1]))} or {_STATUSES[-1]!r}"
        raise PydanticCustomError("enum", "Input should be {expected}", {"expected": expected})
    return DecisionPhase.from_stored(value)


Status = Annotated[
    DecisionPhase,
    BeforeValidator(_parse_status),
    PlainSerializer(lambda phase: phase.stored, return_type=str),
    WithJsonSchema({"type": "string", "enum": _STATUSES}),
]
"""The phase of a decision as the database stores it."""


class DecisionFilter(NamespaceQuery):
    """Filter of decisions."""

    limit: Annotated[int, Field(ge=1, le=500, description="Maximum number of decisions.")] = 50
    status: Annotated[Status | None, Field(description="Only decisions with this status.")] = None
    service: Annotated[Name | None, Field(description="Only decisions of this service.")] = None
    policy: Annotated[Name | None, Field(description="Only decisions of the policies with this name.")] = None
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=_MAX_CURSOR, description="`next_cursor` of the previous page.")
    ] = None


class Decision(ResponseModel):
    """A decision to change a floor, applied or not."""

    id: str = Field(description="Id, which is also the name of the ScalingDecision while the cluster keeps it.")
    created_at: Time
    service_name: str
    namespace: str
    policy: str
    target: str = Field(description="Kind and name of the target.")
    decision_type: str = Field(description="scale_up or scale_down.")
    status: Status
    from_replicas: int
    to_replicas: int
    uncapped_replicas: int = Field(description="Recommended replicas before limits.")
    source: str = Field(description="Source of the highest recommendation, such as Forecast, Event or Reactive.")
    reason: str
    message: str = Field(description="Explanation in one sentence.")
    outcome: str | None = Field(description="Outcome in one sentence; null while the decision is unfinished.")
    cause: str | None = Field(
        description="Cause of failed or rolled_back in one word, such as Quota or CrashLoop; null otherwise."
    )
    started_at: Time | None
    finished_at: Time | None


class Decisions(ResponseModel):
    """A page of decisions, newest first."""

    decisions: list[Decision]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page.")


class Cleared(ResponseModel):
    """Result of cancelling stuck decisions."""

    cleared: int = Field(description="Number of cancelled decisions.")


@router.get("", response_model=Decisions, openapi_extra=documented(DecisionFilter))
async def list_decisions(request: Request) -> Response:
    """Return a page of decisions, newest first."""
    query, services = query_of(request, DecisionFilter), services_of(request)
    visible = visible_of(request).within(query.namespace)
    if visible.names is None and query.service is not None and query.model_fields_set <= {"service", "limit"}:
        return json_response(request, await _newest(services, query.service, query.limit))
    page = await services.decisions.page(
        query.limit,
        phase=query.status,
        service=query.service,
        policy=query.policy,
        namespaces=visible.namespaces,
        cursor=query.cursor,
    )
    return json_response(request, encode(page))


async def _newest(services: Services, service: str, limit: int) -> bytes:
    async def read(names: Sequence[str]) -> Mapping[str, bytes]:
        pages = await services.decisions.newest_of(names, limit)
        return {name: encode(page) for name, page in pages.items()}

    return await services.reads.get(("decisions", limit), service, read)


@router.delete("/stuck", response_model=Cleared, responses={202: {"model": Accepted}, **responses(502)})
async def clear_stuck_decisions(_: Annotated[QueryModel, Query()], services: Use) -> Response:
    """Cancel unfinished decisions whose deadline has passed. Returns 202 while the operator has not responded.

    All of them: a parameter, such as the name of a service, is refused.
    """
    return await run_command(services, CLEAR_STUCK, lambda result: JSONResponse(Cleared(**result).model_dump()))
