"""Forecasts: those that hold now, and those of a span."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import Field, model_validator

from predictive_scaling.api.cache import SERVES
from predictive_scaling.api.fields import Answer, Name, Number, Question, Time, TimeGiven
from predictive_scaling.api.services import Services, Use
from predictive_scaling.clock import monotonic
from predictive_scaling.storage.predictions import Prediction
from predictive_scaling.telemetry.metrics import PREDICTION_LATENCY, SERVE

router = APIRouter(prefix="/predictions", tags=["predictions"])

_LATENCY = PREDICTION_LATENCY.labels(SERVE)
_OLDEST = timedelta(days=1)
_LONGEST_BIN = timedelta(hours=1)
_LONGEST_SPAN = timedelta(days=7)
_AROUND = timedelta(hours=1)


class CurrentFilter(Question):
    """Which forecasts."""

    service: Annotated[Name | None, Field(description="Only those of this service.")] = None


class SpanFilter(Question):
    """Which forecasts; without times: an hour before now to an hour after."""

    service: Annotated[Name, Field(description="Whose.")]
    start: Annotated[TimeGiven | None, Field(alias="from", description="First target time, RFC 3339.")] = None
    end: Annotated[TimeGiven | None, Field(alias="to", description="End of the target times, exclusive.")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start and self.end and not timedelta(0) < self.end - self.start <= _LONGEST_SPAN:
            raise ValueError(f"to must be after from, by {_LONGEST_SPAN.days} days at most")
        return self


class Point(Answer):
    """The demand of the bin that begins at target_time, as quantiles, in the unit of the series."""

    target_time: Time
    p10: Number
    p50: Number
    p80: Number
    p90: Number
    p95: Number


class Forecast(Answer):
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


class CurrentPredictions(Answer):
    """Forecasts that hold now; an expired one is not among them."""

    predictions: list[Forecast]


class MadePoint(Point):
    """A point with the forecast that it came from."""

    created_at: Time
    model_name: str
    model_version: str
    source: str


class PolicyPredictions(Answer):
    """What was last forecast for each target time."""

    service_name: str
    namespace: str
    policy: str
    points: list[MadePoint]


class PredictionsOfSpan(Answer):
    """By policy."""

    predictions: list[PolicyPredictions]


@router.get("/current", response_model=CurrentPredictions)
async def show_current_predictions(question: Annotated[CurrentFilter, Query()], services: Use) -> Response:
    """Each policy's newest forecast, as long as it is valid."""
    began = monotonic()
    key = f"predictions/current?service={question.service or ''}"
    body = await services.cache.get(key)
    if body is None:
        body = (await _current(services, question.service)).model_dump_json().encode()
        await services.cache.put(key, body, services.clock.real_seconds(SERVES))
    _LATENCY.observe(monotonic() - began)
    return Response(body, media_type="application/json")


@router.get("")
async def list_predictions(question: Annotated[SpanFilter, Query()], services: Use) -> PredictionsOfSpan:
    """For each policy of the service and each target time, the last forecast of it, whether it is over or to come."""
    start, end = _span(question, services.clock.now())
    rows = await services.predictions.between(question.service, start, end)
    return PredictionsOfSpan(
        predictions=[
            PolicyPredictions(
                service_name=question.service,
                namespace=namespace,
                policy=policy,
                points=[MadePoint.model_validate(row) for row in points],
            )
            for (namespace, policy), points in _by_policy(rows)
        ]
    )


async def _current(services: Services, service: str | None) -> CurrentPredictions:
    now = services.clock.now()
    rows = await services.predictions.newest(now - _LONGEST_BIN, now - _OLDEST, service)
    valid = [row for row in rows if row.valid_until is not None and row.valid_until > now]
    return CurrentPredictions(predictions=[_forecast(list(points), now) for _, points in _by_policy(valid)])


def _forecast(rows: Sequence[Prediction], now: datetime) -> Forecast:
    first = rows[0]
    # The bin that runs now began before now; those before it are over.
    running = max((index for index, row in enumerate(rows) if row.target_time <= now), default=0)
    return Forecast(
        service_name=first.service_name,
        namespace=first.namespace,
        policy=first.policy,
        created_at=first.created_at,
        valid_until=first.valid_until or first.target_time,
        model_name=first.model_name,
        model_version=first.model_version,
        source=first.source,
        points=[Point.model_validate(row) for row in rows[running:]],
    )


def _span(question: SpanFilter, now: datetime) -> tuple[datetime, datetime]:
    if question.start is None and question.end is None:
        return now - _AROUND, now + _AROUND
    start = question.start or (question.end or now) - 2 * _AROUND
    return start, question.end or start + 2 * _AROUND


def _by_policy(rows: Sequence[Prediction]) -> Iterable[tuple[tuple[str, str], Iterable[Prediction]]]:
    return groupby(rows, key=lambda row: (row.namespace, row.policy))
