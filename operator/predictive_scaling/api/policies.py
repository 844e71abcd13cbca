"""Policies as the operator last saw them, with what they forecast from."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from predictive_scaling.api.answers import answer, encoded
from predictive_scaling.api.fields import Name, NextCursor, PageQuery, ResponseModel, Time
from predictive_scaling.api.services import Use
from predictive_scaling.api.status import PolicyStatus, policy_status
from predictive_scaling.storage.policies import PolicyRow

router = APIRouter(prefix="/policies", tags=["policies"])


class PolicyFilter(PageQuery):
    """Which policies."""

    service: Annotated[Name | None, Field(description="Only those of this service.")] = None


class Policy(PolicyStatus):
    """A policy's status with its demand's metric and its forecast in short."""

    metric_name: str | None
    forecast: dict[str, Any] | None = Field(description="As in the resource's status; the series is in predictions.")
    updated_at: Time


class PolicyList(ResponseModel):
    """By namespace and name."""

    policies: list[Policy]
    next_cursor: NextCursor


@router.get("", response_model=PolicyList)
async def list_policies(question: Annotated[PolicyFilter, Query()], request: Request, services: Use) -> Response:
    """Policies, or those of one service, a page at a time."""

    async def document() -> bytes:
        page = await services.policies.page(question.limit, service=question.service, cursor=question.cursor)
        return encoded({"policies": [_policy(row) for row in page.policies], "next_cursor": page.next_cursor})

    key = f"policies?limit={question.limit}&cursor={question.cursor or ''}&service={question.service or ''}"
    return answer(request, await services.answers.get(key, await services.policies.version(), document))


def _policy(row: PolicyRow) -> dict[str, Any]:
    return policy_status(row) | {
        "metric_name": row.metric_name,
        "forecast": row.forecast,
        "updated_at": row.updated_at,
    }
