"""Forecasts: the current ones, and those of a time range."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator

from predictive_scaling.api.cache import MAX_AGE
from predictive_scaling.api.fields import (
    MAX_CURSOR,
    Name,
    NamespaceQuery,
    NextCursor,
    Number,
    PageQuery,
    ResponseModel,
    Time,
    TimeParameter,
)
from predictive_scaling.api.queries import documented, query_of
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Services, Use, services_of
from predictive_scaling.api.visible_namespaces import Visible, VisibleNamespaces, visible_of
from predictive_scaling.clock import monotonic
from predictive_scaling.storage.predictions import CurrentForecastRow, CurrentPage
from predictive_scaling.telemetry.metrics import PREDICTION_LATENCY, SERVE

router = APIRouter(prefix="/predictions", tags=["predictions"])

_LATENCY = PREDICTION_LATENCY.labels(SERVE)
_MAX_AGE = timedelta(days=1)
_MAX_SPAN = timedelta(days=7)
_HALF_SPAN = timedelta(hours=1)


class CurrentFilter(PageQuery):
    """Filter of current forecasts."""

    service: Annotated[Name | None, Field(description="Only forecasts of this service.")] = None


class SpanFilter(NamespaceQuery):
    """Filter of forecasts; default: from an hour ago to an hour ahead."""

    service: Annotated[Name, Field(description="Service of the forecasts.")]
    start: Annotated[TimeParameter | None, Field(alias="from", description="First target time, RFC 3339.")] = None
    end: Annotated[TimeParameter | None, Field(alias="to", description="End of the target times, exclusive.")] = None
    limit: Annotated[int, Field(ge=1, le=100, description="Maximum number of policies.")] = 20
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=MAX_CURSOR, description="`next_cursor` of the previous page.")
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and not timedelta(0) < self.end - self.start <= _MAX_SPAN:
            raise ValueError(f"to must be after from, by {_MAX_SPAN.days} days at most")
        return self


class Point(ResponseModel):
    """Quantiles of the demand in the bin that starts at target_time, in the unit of the series."""

    target_time: Time
    p10: Number
    p50: Number
    p80: Number
    p90: Number
    p95: Number


_POINT = tuple(Point.model_fields)


class Forecast(ResponseModel):
    """The newest forecast of a policy."""

    service_name: str
    namespace: str
    policy: str
    created_at: Time = Field(description="Forecast origin: no later data was used.")
    valid_until: Time
    model_name: str
    model_version: str
    source: str = Field(description="Position in the fallback chain: FreshForecast, LastForecast or SameTimeLastWeek.")
    points: list[Point] = Field(description="Points from the current bin on, by time.")


class CurrentPredictions(ResponseModel):
    """A page of forecasts that are valid now, by namespace and policy."""

    predictions: list[Forecast]
    next_cursor: NextCursor


class ForecastPoint(Point):
    """A point with the forecast that it belongs to."""

    created_at: Time
    model_name: str
    model_version: str
    source: str


class PolicyPredictions(ResponseModel):
    """The last forecast of each target time of a policy."""

    service_name: str
    namespace: str
    policy: str
    points: list[ForecastPoint]


class PredictionsOfSpan(ResponseModel):
    """A page of forecasts by namespace and policy."""

    predictions: list[PolicyPredictions]
    next_cursor: NextCursor


@router.get("/current", response_model=CurrentPredictions, openapi_extra=documented(CurrentFilter))
async def show_current_predictions(request: Request) -> Response:
    """Return a page of the valid forecasts of all policies."""
    began = monotonic()
    query, services = query_of(request, CurrentFilter), services_of(request)
    visible = visible_of(request).within(query.namespace)
    if visible.names is None and query.service is not None and query.model_fields_set <= {"service", "limit"}:
        body = await _of_service(services, query.service, query.limit)
    else:
        body = await _of_list(services, query, visible)
    _LATENCY.observe(monotonic() - began)
    return json_response(request, body)


@router.get("", response_model=PredictionsOfSpan)
async def list_predictions(
    query: Annotated[SpanFilter, Query()], request: Request, services: Use, visible: VisibleNamespaces
) -> Response:
    """Return the last forecast of each target time, past or future, for each policy of a service."""
    start, end = _span(query, services.clock.now())
    namespaces = visible.within(query.namespace).reading(query.service).namespaces
    page = await services.predictions.policies_between(
        query.service, start, end, query.limit, namespaces=namespaces, cursor=query.cursor
    )
    rows = await services.predictions.between(query.service, start, end, page.policies) if page.policies else []
    predictions = [
        {
            "service_name": query.service,
            "namespace": namespace,
            "policy": policy,
            "points": [{name: getattr(row, name) for name in ForecastPoint.model_fields} for row in points],
        }
        for (namespace, policy), points in groupby(rows, key=lambda row: (row.namespace, row.policy))
    ]
    return json_response(request, encode({"predictions": predictions, "next_cursor": page.next_cursor}))


async def _of_service(services: Services, service: str, limit: int) -> bytes:
    async def read(names: Sequence[str]) -> Mapping[str, bytes]:
        now = services.clock.now()
        pages = await services.predictions.current_of(names, now, now - _MAX_AGE, limit)
        return {name: _document(page, now) for name, page in pages.items()}

    return await services.reads.get(("current forecasts", limit), service, read)


async def _of_list(services: Services, query: CurrentFilter, visible: Visible) -> bytes:
    key = f"{visible.key}/predictions/current?service={query.service or ''}"
    if query.model_fields_set - {"service", "namespace"}:
        key += f"&limit={query.limit}&cursor={query.cursor or ''}"
    body = await services.cache.get(key)
    if body is None:
        now = services.clock.now()
        page = await services.predictions.current(
            now,
            now - _MAX_AGE,
            query.limit,
            service=query.service,
            namespaces=visible.namespaces,
            readable=visible.readable,
            cursor=query.cursor,
        )
        body = _document(page, now)
        await services.cache.put(key, body, services.clock.real_seconds(MAX_AGE))
    return body


def _document(page: CurrentPage, now: datetime) -> bytes:
    return encode(
        {"predictions": [_forecast(forecast, now) for forecast in page.forecasts], "next_cursor": page.next_cursor}
    )


def _forecast(row: CurrentForecastRow, now: datetime) -> dict[str, Any]:
    """Return the fields of Forecast."""
    # The current bin started before now; earlier bins are past.
    current_bin = max(bisect_right(row.target_times, now) - 1, 0)
    columns = zip(row.target_times, row.p10, row.p50, row.p80, row.p90, row.p95, strict=True)
    return {
        "service_name": row.service_name,
        "namespace": row.namespace,
        "policy": row.policy,
        "created_at": row.created_at,
        "valid_until": row.valid_until,
        "model_name": row.model_name,
        "model_version": row.model_version,
        "source": row.source,
        "points": [dict(zip(_POINT, point, strict=True)) for point in islice(columns, current_bin, None)],
    }


def _span(query: SpanFilter, now: datetime) -> tuple[datetime, datetime]:
    if query.start is None and query.end is None:
        return now - _HALF_SPAN, now + _HALF_SPAN
    start = query.start or (query.end or now) - 2 * _HALF_SPAN
    return start, query.end or start + 2 * _HALF_SPAN
