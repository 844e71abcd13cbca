"""A policy over time: demand, forecast band, floor and replicas, as the charts of the web page draw them."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

import numpy as np
from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import Field, model_validator

from predictive_scaling.api.fields import Name, Number, QueryModel, ResponseModel, Time, TimeParameter
from predictive_scaling.api.problems import responses
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Services, Use
from predictive_scaling.api.visible_namespaces import VisibleNamespaces
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.policies import PolicyRow
from predictive_scaling.storage.replica_history import ReplicaChange

router = APIRouter(prefix="/policies", tags=["policies"])

MAX_SPAN = timedelta(days=7)
MAX_POINTS = 720
"""Maximum number of points of a line; longer spans have longer steps."""

_PAST, _AHEAD = timedelta(hours=6), timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
_QUANTILES = ("p10", "p50", "p80", "p90", "p95")


class TimelineFilter(QueryModel):
    """Span of a timeline; default: from six hours ago to an hour ahead."""

    start: Annotated[TimeParameter | None, Field(alias="from", description="Start, RFC 3339.")] = None
    end: Annotated[TimeParameter | None, Field(alias="to", description="End, exclusive.")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and not timedelta(0) < self.end - self.start <= MAX_SPAN:
            raise ValueError(f"to must be after from, by {MAX_SPAN.days} days at most")
        return self


class DemandPoint(ResponseModel):
    """The highest demand of a step, in the unit of the series."""

    time: Time
    value: Number


class BandPoint(ResponseModel):
    """The last forecast of the demand of a step: the highest value of each quantile."""

    time: Time
    p10: Number
    p50: Number
    p80: Number
    p90: Number
    p95: Number


class ReplicaPoint(ResponseModel):
    """Floor and replicas from this time to that of the next point; null where unknown."""

    time: Time
    floor: int | None
    current_replicas: int | None
    ready_replicas: int | None


class Timeline(ResponseModel):
    """A policy over time. Demand and forecast have no point where they are unknown."""

    namespace: str
    policy: str
    service_name: str | None
    metric_name: str | None
    since: Time
    until: Time
    now: Time = Field(description="The time of the response: later points are forecasts.")
    step_seconds: int = Field(description="Distance of the points of demand and forecast.")
    min_replicas: int | None
    max_replicas: int | None
    demand: list[DemandPoint]
    forecast: list[BandPoint]
    replicas: list[ReplicaPoint] = Field(description="Changes by time; the first one may be older than the span.")


@router.get("/{namespace}/{name}/timeline", responses=responses(404), response_model=Timeline)
async def show_timeline(
    namespace: Annotated[Name, Path(description="Namespace of the policy.")],
    name: Annotated[Name, Path(description="Name of the policy.")],
    query: Annotated[TimelineFilter, Query()],
    request: Request,
    services: Use,
    visible: VisibleNamespaces,
) -> Response:
    """Return demand, forecast, floor and replicas of a policy over a time range of up to seven days."""
    policy = await services.policies.of(namespace, name)
    if policy is None:
        raise HTTPException(404, f"policy {namespace}/{name} is not known; /api/v1/policies lists all policies")
    now = services.clock.now()
    since, until = _span(query, now)
    step = step_of(until - since)
    # A namespace that may not read the service sees the policy, but neither demand nor forecast.
    may_read = policy.service_name is not None and visible.reading(policy.service_name).names != ()
    document = {
        "namespace": namespace,
        "policy": name,
        "service_name": policy.service_name,
        "metric_name": policy.metric_name,
        "since": since,
        "until": until,
        "now": now,
        "step_seconds": int(step.total_seconds()),
        "min_replicas": policy.min_replicas,
        "max_replicas": policy.max_replicas,
        "demand": await _demand(services, policy, since, min(until, now), step) if may_read else [],
        "forecast": await _forecast(services, policy, since, until, step) if may_read else [],
        "replicas": await _replicas(services, policy, since, until),
    }
    return json_response(request, encode(document))


def step_of(span: timedelta) -> timedelta:
    """Return the distance of points: full minutes, at most MAX_POINTS of them.

    >>> step_of(timedelta(hours=7)), step_of(timedelta(days=7))
    (datetime.timedelta(seconds=60), datetime.timedelta(seconds=840))
    """
    return _MINUTE * max(1, math.ceil(span / _MINUTE / MAX_POINTS))


def _span(query: TimelineFilter, now: datetime) -> tuple[datetime, datetime]:
    if query.start is None and query.end is None:
        return now - _PAST, now + _AHEAD
    span = _PAST + _AHEAD
    start = query.start or (query.end or now) - span
    return start, query.end or start + span


async def _demand(
    services: Services, policy: PolicyRow, since: datetime, until: datetime, step: timedelta
) -> list[dict[str, Any]]:
    if policy.service_name is None or policy.metric_name is None or until <= since:
        return []
    key = SeriesKey(policy.service_name, policy.metric_name, policy.aggregation or "Sum")
    first = since.replace(second=0, microsecond=0)
    values = (await services.demand.minutes([key], first, until))[key]
    times = (first + minute * _MINUTE for minute in range(len(values)))
    known = [(time, (float(value),)) for time, value in zip(times, values, strict=True) if not np.isnan(value)]
    return [{"time": time, "value": highest[0]} for time, highest in _steps(known, step)]


async def _forecast(
    services: Services, policy: PolicyRow, since: datetime, until: datetime, step: timedelta
) -> list[dict[str, Any]]:
    if policy.service_name is None:
        return []
    key = (policy.namespace, policy.policy)
    points = await services.predictions.between(policy.service_name, since, until, [key])
    known = [(point.target_time, tuple(getattr(point, name) for name in _QUANTILES)) for point in points]
    return [{"time": time, **dict(zip(_QUANTILES, highest, strict=True))} for time, highest in _steps(known, step)]


async def _replicas(
    services: Services, policy: PolicyRow, since: datetime, until: datetime
) -> list[dict[str, int | datetime | None]]:
    changes = await services.replica_history.of_policy(policy.namespace, policy.policy, since, until)
    if not changes:
        # Retention has removed the last change, so the numbers are older than the span.
        changes = [ReplicaChange(since, policy.floor, policy.current_replicas, policy.ready_replicas)]
    return [
        {
            "time": change.at,
            "floor": change.floor,
            "current_replicas": change.current_replicas,
            "ready_replicas": change.ready_replicas,
        }
        for change in changes
    ]


def _steps(
    points: Sequence[tuple[datetime, tuple[float, ...]]], step: timedelta
) -> list[tuple[datetime, tuple[float, ...]]]:
    """Return the highest values of each step that has points, by time."""
    steps: dict[datetime, tuple[float, ...]] = {}
    for time, values in points:
        start = time if step == _MINUTE else _floor(time, step)
        known = steps.get(start, values)
        steps[start] = tuple(map(max, known, values))
    return list(steps.items())


def _floor(time: datetime, step: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (time - epoch) // step * step
