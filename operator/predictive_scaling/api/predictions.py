"""Forecasts: those that hold now, and those of a span."""

from bisect import bisect_right
from datetime import datetime, timedelta
from itertools import groupby, islice
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator

from predictive_scaling.api.answers import answer, encoded
from predictive_scaling.api.cache import SERVES
from predictive_scaling.api.fields import (
    MAX_CURSOR,
    Name,
    NextCursor,
    Number,
    PageQuery,
    QueryModel,
    ResponseModel,
    Time,
    TimeGiven,
)
from predictive_scaling.api.services import Services, Use
from predictive_scaling.clock import monotonic
from predictive_scaling.storage.predictions import CurrentForecastRow
from predictive_scaling.telemetry.metrics import PREDICTION_LATENCY, SERVE

router = APIRouter(prefix="/predictions", tags=["predictions"])

_LATENCY = PREDICTION_LATENCY.labels(SERVE)
_OLDEST = timedelta(days=1)
_MAX_SPAN = timedelta(days=7)
_AROUND = timedelta(hours=1)


class CurrentFilter(PageQuery):
    """Which forecasts."""

    service: Annotated[Name | None, Field(description="Only those of this service.")] = None


class SpanFilter(QueryModel):
    """Which forecasts; without times: an hour before now to an hour after."""

    service: Annotated[Name, Field(description="Whose.")]
    start: Annotated[TimeGiven | None, Field(alias="from", description="First target time, RFC 3339.")] = None
    end: Annotated[TimeGiven | None, Field(alias="to", description="End of the target times, exclusive.")] = None
    limit: Annotated[int, Field(ge=1, le=100, description="Of how many policies at most.")] = 20
    cursor: Annotated[
        str | None, Field(min_length=1, max_length=MAX_CURSOR, description="`next_cursor` of the page before.")
    ] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and not timedelta(0) < self.end - self.start <= _MAX_SPAN:
            raise ValueError(f"to must be after from, by {_MAX_SPAN.days} days at most")
        return self


class Point(ResponseModel):
    """The demand of the bin that begins at target_time, as quantiles, in the unit of the series."""

    target_time: Time
    p10: Number
    p50: Number
    p80: Number
    p90: Number
    p95: Number


_POINT = tuple(Point.model_fields)


class Forecast(ResponseModel):
    """The newest forecast of one policy."""

    service_name: str
    namespace: str
    policy: str
    created_at: Time = Field(description="When it was made; nothing later was looked at.")
    valid_until: Time
    model_name: str
    model_version: str
    source: str = Field(description="Its place in the fallback chain: FreshForecast, LastForecast or SameTimeLastWeek.")
    points: list[Point] = Field(description="From the bin that runs now on, by time.")


class CurrentPredictions(ResponseModel):
    """Forecasts that hold now, by namespace and policy; an expired one is not among them."""

    predictions: list[Forecast]
    next_cursor: NextCursor


class MadePoint(Point):
    """A point with the forecast that it came from."""

    created_at: Time
    model_name: str
    model_version: str
    source: str


class PolicyPredictions(ResponseModel):
    """What was last forecast for each target time."""

    service_name: str
    namespace: str
    policy: str
    points: list[MadePoint]


class PredictionsOfSpan(ResponseModel):
    """By namespace and policy."""

    predictions: list[PolicyPredictions]
    next_cursor: NextCursor


@router.get("/current", response_model=CurrentPredictions)
async def show_current_predictions(
    question: Annotated[CurrentFilter, Query()], request: Request, services: Use
) -> Response:
    """Each policy's newest forecast, as long as it is valid, a page at a time."""
    began = monotonic()
    key = f"predictions/current?service={question.service or ''}"
    if question.model_fields_set - {"service"}:
        key += f"&limit={question.limit}&cursor={question.cursor or ''}"
    body = await services.cache.get(key)
    if body is None:
        body = encoded(await _current(services, question))
        await services.cache.put(key, body, services.clock.real_seconds(SERVES))
    _LATENCY.observe(monotonic() - began)
    return answer(request, body)


@router.get("", response_model=PredictionsOfSpan)
async def list_predictions(question: Annotated[SpanFilter, Query()], request: Request, services: Use) -> Response:
    """For each policy of the service and each target time, the last forecast of it, whether it is over or to come."""
    start, end = _span(question, services.clock.now())
    page = await services.predictions.policies_between(question.service, start, end, question.limit, question.cursor)
    rows = await services.predictions.between(question.service, start, end, page.policies) if page.policies else []
    predictions = [
        {
            "service_name": question.service,
            "namespace": namespace,
            "policy": policy,
            "points": [{name: getattr(row, name) for name in MadePoint.model_fields} for row in points],
        }
        for (namespace, policy), points in groupby(rows, key=lambda row: (row.namespace, row.policy))
    ]
    return answer(request, encoded({"predictions": predictions, "next_cursor": page.next_cursor}))


async def _current(services: Services, question: CurrentFilter) -> dict[str, Any]:
    now = services.clock.now()
    page = await services.predictions.current(
        now, now - _OLDEST, question.limit, service=question.service, cursor=question.cursor
    )
    return {"predictions": [_forecast(forecast, now) for forecast in page.forecasts], "next_cursor": page.next_cursor}


def _forecast(row: CurrentForecastRow, now: datetime) -> dict[str, Any]:
    """A row as Forecast describes it."""
    # The bin that runs now began before now; those before it are over.
    running = max(bisect_right(row.target_times, now) - 1, 0)
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
        "points": [dict(zip(_POINT, point, strict=True)) for point in islice(columns, running, None)],
    }


def _span(question: SpanFilter, now: datetime) -> tuple[datetime, datetime]:
    if question.start is None and question.end is None:
        return now - _AROUND, now + _AROUND
    start = question.start or (question.end or now) - 2 * _AROUND
    return start, question.end or start + 2 * _AROUND
