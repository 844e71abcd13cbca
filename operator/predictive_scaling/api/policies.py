"""Policies with their last recorded status and forecast."""

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import Field

from predictive_scaling.api.fields import Name, NextCursor, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Use
from predictive_scaling.api.status import PolicyStatus, SelectionQuery, policy_status
from predictive_scaling.api.visible_namespaces import VisibleNamespaces
from predictive_scaling.storage.policies import PolicyRow

router = APIRouter(prefix="/policies", tags=["policies"])


class PolicyFilter(SelectionQuery):
    """Filter of policies."""

    service: Annotated[Name | None, Field(description="Only policies of this service.")] = None


class Policy(PolicyStatus):
    """The status of a policy, with its metric and a summary of its forecast."""

    metric_name: str | None
    forecast: dict[str, Any] | None = Field(
        description="As in status.forecast of the resource; /predictions has the full series."
    )
    updated_at: Time


class PolicyList(ResponseModel):
    """A page of policies by namespace and name."""

    policies: list[Policy]
    next_cursor: NextCursor


@router.get("", response_model=PolicyList)
async def list_policies(
    query: Annotated[PolicyFilter, Query()], request: Request, services: Use, visible: VisibleNamespaces
) -> Response:
    """Return a page of the policies, optionally of one service."""
    visible = visible.within(query.namespace)

    async def document() -> bytes:
        page = await services.policies.page(
            query.limit,
            service=query.service,
            namespaces=visible.namespaces,
            selection=query.selection,
            cursor=query.cursor,
        )
        return encode({"policies": [_policy(row) for row in page.policies], "next_cursor": page.next_cursor})

    key = f"{visible.key}/policies?{query.model_dump_json()}"
    return json_response(request, await services.responses.get(key, await services.policies.version(), document))


@router.get("/{namespace}/{name}", responses=responses(404), response_model=Policy)
async def show_policy(
    namespace: Annotated[Name, Path(description="Namespace of the policy.")],
    name: Annotated[Name, Path(description="Name of the policy.")],
    _: Annotated[QueryModel, Query()],
    request: Request,
    services: Use,
) -> Response:
    """Return one policy."""
    row = await services.policies.of(namespace, name)
    if row is None:
        raise HTTPException(404, f"policy {namespace}/{name} is not known; /api/v1/policies lists all policies")
    return json_response(request, encode(_policy(row)))


def _policy(row: PolicyRow) -> dict[str, Any]:
    return policy_status(row) | {
        "metric_name": row.metric_name,
        "forecast": row.forecast,
        "updated_at": row.updated_at,
    }
