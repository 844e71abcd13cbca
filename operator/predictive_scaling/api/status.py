"""The status of each policy, and a summary of all policies."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from predictive_scaling.api.fields import Name, NextCursor, Number, PageQuery, ResponseModel, Time
from predictive_scaling.api.learned import Learned, learned_of_status
from predictive_scaling.api.queries import documented, query_of
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Services, services_of
from predictive_scaling.api.shadow import Shadow, shadow_of_status
from predictive_scaling.api.visible_namespaces import Visible, visible_of
from predictive_scaling.resources.vocabulary import Mode, Source
from predictive_scaling.storage.policies import PolicyRow, PolicySelection
from predictive_scaling.storage.scaling_overview import ScalingOverview

router = APIRouter(prefix="/scaling", tags=["status"])

_DAY = timedelta(hours=24)


class Condition(ResponseModel):
    """A condition of the policy, as `kubectl describe` shows it."""

    type: str
    status: str = Field(description="True, False or Unknown.")
    reason: str
    message: str
    observed_generation: int | None
    last_transition_time: str | None


class Advice(ResponseModel):
    """The recommended settings of a policy."""

    quantile: Number
    target_utilization: Number = Field(description="As a ratio.")
    replica_hours_saved: Number
    message: str | None


class PolicyStatus(ResponseModel):
    """The last recorded status of a policy; unknown values are null."""

    namespace: str
    policy: str
    service_name: str | None = Field(description="Null, as the fields up to max_replicas, when the policy is invalid.")
    mode: str | None = Field(description="Off, Recommend or Auto.")
    target: str | None
    min_replicas: int | None
    max_replicas: int | None
    floor: int | None = Field(description="Current floor; in mode Recommend the recommended floor.")
    current_replicas: int | None
    ready_replicas: int | None
    source: str | None = Field(description="Source of the floor, such as Forecast, Event or Reactive.")
    limited: bool = Field(description="Whether the maximum limits the recommendation.")
    conditions: list[Condition]
    last_decision_at: Time | None
    advice: Advice | None
    learned: Learned | None = Field(description="What was learned about the target; null before anything was.")
    shadow: Shadow | None = Field(
        description="What mode Auto would have done over the last seven days; null outside of mode Recommend."
    )


class Summary(ResponseModel):
    """A summary of all policies."""

    policies: int
    auto: int = Field(description="Number of policies in mode Auto.")
    limited: int = Field(description="Number of policies whose maximum limits the recommendation.")
    fallback: int = Field(description="Number of policies in fallback.")
    stuck_decisions: int = Field(description="Number of unfinished decisions whose deadline has passed.")
    success_rate_24h: Number = Field(
        description="Share of executed decisions that succeeded; null without executed decisions."
    )


_COUNTED = [name for name in Summary.model_fields if name != "success_rate_24h"]


class ScalingStatus(ResponseModel):
    """A page of policies and the summary."""

    policies: list[PolicyStatus] = Field(description="Policies by namespace and name.")
    summary: Summary = Field(description="Summary of all visible policies, independent of the page.")
    next_cursor: NextCursor


class SelectionQuery(PageQuery):
    """Parameters of a list of policies."""

    mode: Annotated[Mode | None, Field(description="Only policies in this mode.")] = None
    source: Annotated[Source | None, Field(description="Only policies whose floor has this source.")] = None
    limited: Annotated[
        bool | None, Field(description="Only policies whose maximum limits the recommendation, or only the others.")
    ] = None
    search: Annotated[
        Name | None, Field(description="Only policies with this text in `namespace/name` or the name of the service.")
    ] = None

    @property
    def selection(self) -> PolicySelection:
        """The selection of the query."""
        return PolicySelection(self.mode, self.source, self.limited, self.search)


@router.get("/status", response_model=ScalingStatus, openapi_extra=documented(SelectionQuery))
async def show_status(request: Request) -> Response:
    """Return a page of policies by namespace and name, and a summary of all visible policies."""
    query, services = query_of(request, SelectionQuery), services_of(request)
    visible = visible_of(request).within(query.namespace)
    overview = await _overview(services, visible)
    policies, next_cursor = await _statuses(services, query, visible.namespaces, overview.version)
    summary = {name: getattr(overview, name) for name in _COUNTED}
    summary["success_rate_24h"] = await _success_rate(services, visible)
    rest = encode({"summary": summary, "next_cursor": next_cursor})
    return json_response(request, b'{"policies":[' + b",".join(policies) + b"]," + rest[1:])


async def _overview(services: Services, visible: Visible) -> ScalingOverview:
    async def read(_: Sequence[None]) -> Mapping[None, ScalingOverview]:
        return {None: await services.overviews.read(services.clock.now(), visible.namespaces)}

    return await services.reads.get(("overview", visible.key), None, read)


async def _statuses(
    services: Services, query: SelectionQuery, namespaces: list[str] | None, version: str
) -> tuple[list[bytes], str | None]:
    """Return the policies of a page as JSON, and the cursor of the next page."""
    snapshots, policies, reads = services.policy_snapshots, services.policies, services.reads
    snapshot = await snapshots.of(version, policies, reads)
    page = snapshot.page(query.limit, query.selection, namespaces, query.cursor)
    if page is not None:
        return await snapshots.statuses(snapshot, page.keys, policies, reads, _status), page.next_cursor
    rows = await policies.page(
        query.limit, namespaces=namespaces, selection=query.selection, cursor=query.cursor, with_forecast=False
    )
    return list(map(_status, rows.policies)), rows.next_cursor


async def _success_rate(services: Services, visible: Visible) -> float | None:
    async def compute() -> float | None:
        return await services.decisions.success_rate(services.clock.now() - _DAY, visible.namespaces)

    return await services.success_rates.get_or_compute(visible.key, compute)


def _status(row: PolicyRow) -> bytes:
    return encode(policy_status(row))


def policy_status(row: PolicyRow) -> dict[str, Any]:
    """Return the fields of PolicyStatus."""
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
        "conditions": [condition(stored) for stored in row.conditions],
        "last_decision_at": row.last_decision_at,
        "advice": None if row.advice is None else _advice(row.advice),
        "learned": learned_of_status(row.learned),
        "shadow": shadow_of_status(row.shadow),
    }


def condition(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of Condition."""
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
    """Parse a decimal, which manifests write as text; None when invalid."""
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None
