"""Policies as the operator last saw them, with what they forecast from."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from predictive_scaling.api.fields import Answer, Name, Question, Time
from predictive_scaling.api.services import Use
from predictive_scaling.api.status import PolicyStatus, policy_status

router = APIRouter(prefix="/policies", tags=["policies"])


class PolicyFilter(Question):
    """Which policies."""

    service: Annotated[Name | None, Field(description="Only those of this service.")] = None


class Policy(PolicyStatus):
    """A policy's status with its demand's metric and its forecast in short."""

    metric_name: str | None
    forecast: dict[str, Any] | None = Field(description="As in the resource's status; the series is in predictions.")
    updated_at: Time


class PolicyList(Answer):
    """By namespace and name."""

    policies: list[Policy]


@router.get("")
async def list_policies(question: Annotated[PolicyFilter, Query()], services: Use) -> PolicyList:
    """Every policy, or those of one service."""
    rows = await services.policies.all(question.service)
    return PolicyList(
        policies=[
            Policy(
                **policy_status(row).model_dump(),
                metric_name=row.metric_name,
                forecast=row.forecast,
                updated_at=row.updated_at,
            )
            for row in rows
        ]
    )
