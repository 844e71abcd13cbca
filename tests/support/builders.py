"""Builders of the inputs of a decision: a test states only what matters to it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from forecasting.forecast import QUANTILES, Forecast
from predictive_scaling.decision.events.windows import event_window
from predictive_scaling.decision.inputs import (
    CurrentForecast,
    DecisionState,
    Demand,
    EventBaseline,
    ForecastSource,
    Observed,
    Situation,
)
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.business_event import BusinessEvent, parse_event
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy

NOON = datetime(2026, 6, 17, 12, tzinfo=UTC)
"""A Wednesday."""

LONG_AGO = NOON - timedelta(days=7)
"""Default start of the decision state: longer ago than any window."""


def a_policy(
    min: int = 1,  # noqa: A002 (the name of the manifest field)
    max: int = 40,  # noqa: A002
    mode: str = "Auto",
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> ScalingPolicy:
    """ScalingPolicy shop/checkout for hpa/checkout; other fields of the spec as in a manifest, such as scaleUp={…}."""
    demand = {"metric": "requests_per_second", "perReplica": "100", **spec.pop("demand", {})}
    replicas = {"min": min, "max": max}
    target = spec.pop("target", {"horizontalPodAutoscaler": {"name": "checkout"}})
    metadata = {
        "name": "checkout",
        "namespace": "shop",
        "uid": "8b0c2f3e-0000-4000-8000-000000000001",
        "generation": 1,
        "annotations": dict(annotations or {}),
        "labels": dict(labels or {}),
    }
    body = {"mode": mode, "target": target, "demand": demand, "replicas": replicas, **spec}
    return parse_policy({"metadata": metadata, "spec": body})


def an_event(
    name: str = "flash-sale",
    start: datetime = NOON,
    end: datetime = NOON + timedelta(hours=2),
    **spec: Any,
) -> BusinessEvent:
    """BusinessEvent shop/flash-sale for all policies; other fields of the spec as in a manifest.

    With recurrence={…} the spec has no start and end.
    """
    times = {} if "recurrence" in spec else {"start": start.isoformat(), "end": end.isoformat()}
    metadata = {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return parse_event({"metadata": metadata, "spec": {"policies": {"all": True}, **times, **spec}})


def an_occurrence(event: BusinessEvent, baseline_forecast: Forecast | None = None) -> EventBaseline:
    """The only occurrence of an event that has a start and an end."""
    assert event.spec.start
    assert event.spec.end
    return EventBaseline(event_window(event, Span(event.spec.start, event.spec.end)), baseline_forecast)


def a_forecast(
    *demands: float,
    origin: datetime = NOON,
    step: timedelta = timedelta(minutes=5),
    spread: Mapping[float, float] | None = None,
    name: str = "checkout",
) -> Forecast:
    """A forecast whose quantiles are each bin's demand times spread[quantile]; without spread all quantiles agree."""
    factors = [(spread or {}).get(quantile, 1.0) for quantile in QUANTILES]
    values = np.array([[demand * factor for factor in factors] for demand in demands], dtype=np.float64)
    return Forecast(name, origin, step, QUANTILES, values, model="LightGBM", version="19980703-1")


def a_steady_forecast(demand: float, *, bins: int = 12, origin: datetime = NOON) -> Forecast:
    """The same demand in every bin and quantile."""
    return a_forecast(*[demand] * bins, origin=origin)


def observed(
    minimum: int = 4,
    maximum: int | None = 50,
    current: int | None = None,
    *,
    ready: int | None = None,
    scaled_to_zero: bool = False,
) -> Observed:
    """A HorizontalPodAutoscaler whose replicas are all ready, unless `ready` says otherwise."""
    replicas = minimum if current is None else current
    return Observed(
        uid="3f6d9a1c-0000-4000-8000-000000000002",
        minimum=minimum,
        maximum=maximum,
        current_replicas=replicas,
        ready_replicas=replicas if ready is None else ready,
        target_utilization=0.7,
        utilization=0.6,
        scaled_to_zero=scaled_to_zero,
        owner=None,
        floor_managers=("predictive-scaling",),
    )


def a_current_forecast(
    forecast: Forecast, source: ForecastSource = ForecastSource.FRESH, valid_for: timedelta = timedelta(hours=1)
) -> CurrentForecast:
    """A current forecast that is valid from its origin."""
    return CurrentForecast(forecast, forecast.origin + valid_for, source)


def a_situation(
    policy: ScalingPolicy | None = None,
    *,
    floor: int = 4,
    forecast: Forecast | float | None = 400.0,
    demand: float | None = 350.0,
    demand_age: timedelta = timedelta(),
    events: Sequence[EventBaseline] = (),
    now: datetime = NOON,
    state: DecisionState | None = None,
    **changes: Any,
) -> Situation:
    """A healthy situation: the floor has been 4 for days, a replica serves 100 requests, demand and forecast are fresh.

    forecast: a number is the same demand in every bin. Further arguments are fields of Situation.
    """
    current_forecast = None
    if forecast is not None:
        steady = forecast if isinstance(forecast, Forecast) else a_steady_forecast(forecast, origin=now)
        current_forecast = a_current_forecast(steady)
    fields: dict[str, Any] = {
        "now": now,
        "policy": policy or a_policy(),
        "observed": observed(floor),
        "state": state or DecisionState(since=LONG_AGO, floor=floor),
        "current_forecast": current_forecast,
        "demand": None if demand is None else Demand(demand, now - demand_age),
        "events": tuple(events),
        "lead_time": timedelta(minutes=3),
        "margin": timedelta(minutes=5),
        "metrics_max_age": timedelta(minutes=5),
        "per_replica": 100.0,
    }
    return Situation(**{**fields, **changes})
