"""Weeks of decisions by the live code over generated demand, with a simulated HPA, outages, edits and restarts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.forecast import QUANTILES, Forecast
from forecasting.scaling.simulation import Autoscaler, AutoscalerRules, Replicas
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.events.windows import EventWindow
from predictive_scaling.decision.inputs import (
    CurrentForecast,
    Decision,
    DecisionState,
    Demand,
    EventBaseline,
    ForecastSource,
    Situation,
)
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from tests.support.builders import observed

MINUTE = timedelta(minutes=1)
BIN = timedelta(minutes=5)
LEAD_TIME = timedelta(minutes=3)
HORIZON_BINS = 12
TICK_MINUTES = 2
DAY_MINUTES = 24 * 60
_SPREAD = np.array([0.7, 1.0, 1.15, 1.25, 1.35])
"""The quantiles of a forecast over its median."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """Minutes [first, last) of a trajectory."""

    first: int
    last: int

    def __contains__(self, minute: int) -> bool:
        return self.first <= minute < self.last


@dataclass(frozen=True, slots=True)
class Course:
    """What happens during a trajectory. All spans and keys are minutes from its start."""

    policies: Mapping[int, ScalingPolicy]
    """The policy from each minute on; the first is at 0."""
    no_metrics: tuple[Span, ...] = ()
    no_forecast: tuple[Span, ...] = ()
    collapses: tuple[Span, ...] = ()
    """Demand falls to a hundredth."""
    maxima: Mapping[int, int | None] = field(default_factory=dict[int, int | None])
    """The target's maximum from each minute on."""
    restarts: frozenset[int] = frozenset()
    events: tuple[EventWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class Tick:
    """One decision and what it was based on."""

    minute: int
    situation: Situation
    decision: Decision
    restarted: bool


def run(demand: FloatArray, start: datetime, course: Course) -> Iterator[Tick]:
    """Decide every two minutes from the second day on; the first is the history of the forecasts.

    demand: by minute, NaN where there is none. The floor that a decision returns is the target's minimum at the next.
    """
    truth = _with_collapses(demand, course.collapses)
    filled = np.where(np.isfinite(truth), truth, 0.0)
    policy, maximum = course.policies[0], None
    floor, state = policy.spec.replicas.min, DecisionState(since=start, floor=policy.spec.replicas.min)
    hpa = Autoscaler(AutoscalerRules(start_steps=3, stabilization_steps=5, maximum=10_000), 100.0, [-1] * max(1, floor))
    replicas, forecast, newest = Replicas(max(1, floor), max(1, floor)), None, None
    for minute in range(0, len(demand) - DAY_MINUTES, TICK_MINUTES):
        now = start + (DAY_MINUTES + minute) * MINUTE
        tick = range(minute, minute + TICK_MINUTES)
        policy = next((course.policies[at] for at in tick if at in course.policies), policy)
        maximum = next((course.maxima[at] for at in tick if at in course.maxima), maximum)
        observation = truth[DAY_MINUTES + minute - 1]
        if np.isfinite(observation) and not _within(course.no_metrics, minute):
            newest = Demand(float(observation), now)
        if minute % 5 < TICK_MINUTES and not _within(course.no_forecast, minute):
            forecast = _forecast(filled, DAY_MINUTES + minute, now)
        restarted = any(at in course.restarts for at in tick)
        if restarted:
            # As control restores it: from the status and the decisions of the last period.
            state = DecisionState(since=now, floor=floor, changes=state.changes)
        if maximum is not None:
            floor = min(floor, maximum)  # the API server keeps the minimum within the maximum
        situation = Situation(
            now=now,
            policy=policy,
            observed=observed(floor, maximum, replicas.existing, ready=replicas.ready),
            state=state,
            current_forecast=forecast,
            demand=newest,
            events=tuple(EventBaseline(window, None) for window in course.events if now < window.span.end),
            lead_time=LEAD_TIME,
            margin=BIN,
            metrics_max_age=5 * MINUTE,
            per_replica=100.0,
        )
        decision = decide(situation)
        yield Tick(minute, situation, decision, restarted)
        state, floor = decision.state, decision.floor
        replicas = hpa.advance(filled[DAY_MINUTES + minute], floor)


def _forecast(filled: FloatArray, at: int, now: datetime) -> CurrentForecast:
    """The demand of the day before, as the naive model forecasts it, with a fixed band; valid for half an hour."""
    minutes = np.minimum(np.arange(5 * HORIZON_BINS) + at - DAY_MINUTES, len(filled) - 1)
    yesterday = filled[minutes]
    values = yesterday.reshape(HORIZON_BINS, 5).mean(axis=1)[:, None] * _SPREAD
    assert len(QUANTILES) == len(_SPREAD)
    forecast = Forecast("demand", now, BIN, QUANTILES, values, "SeasonalNaive", "")
    return CurrentForecast(forecast, now + 30 * MINUTE, ForecastSource.FRESH)


def _with_collapses(demand: FloatArray, collapses: tuple[Span, ...]) -> FloatArray:
    truth = demand.copy()
    for span in collapses:
        truth[DAY_MINUTES + span.first : DAY_MINUTES + span.last] *= 0.01
    return truth


def _within(spans: tuple[Span, ...], minute: int) -> bool:
    return any(minute in span for span in spans)
