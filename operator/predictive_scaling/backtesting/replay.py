"""Replay recorded demand with the live decision code and a simulated HPA whose minimum the policy sets."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from forecasting.forecast import Forecast
from forecasting.scaling.simulation import Autoscaler, Replicas
from forecasting.scaling.simulation_grid import Counts
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.events.active_occurrences import (
    LOOK_AHEAD,
    LOOK_BACK,
    active_occurrences,
    upcoming_occurrences,
)
from predictive_scaling.decision.events.occurrences import Expansion, expand, known_event
from predictive_scaling.decision.events.windows import EventWindow
from predictive_scaling.decision.inputs import (
    CurrentForecast,
    Decision,
    DecisionState,
    Demand,
    EventBaseline,
    ForecastSource,
    Observed,
    Situation,
    Source,
)
from predictive_scaling.resources.event_time import within_calendar
from predictive_scaling.simulation.recommendations import origins_at
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import STEP, Workload

MAX_AGE = timedelta(minutes=5)
"""Maximum age of metrics that may lower a floor: the default of the live setting."""
_REPORT_INTERVAL_STEPS = 2_000


@dataclass(frozen=True, slots=True)
class FloorChange:
    """A change of the floor, with its source and message."""

    step: int
    before: int
    after: int
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of a replay. All shapes (steps,).

    event_recommendations: the highest replicas that events recommended. suppressed: whether an event suppressed the
    forecast.
    """

    existing: Counts
    ready: Counts
    floors: Counts
    event_recommendations: Counts
    suppressed: np.ndarray[tuple[int], np.dtype[np.bool_]]
    changes: tuple[FloorChange, ...]


def replay(
    scenario: Scenario, work: Workload, forecasts: RollingForecasts, report: Callable[[float], None]
) -> Replayed:
    """Decide every 15 seconds, as the operator does, and advance the simulated HPA.

    report: called with the share that is done, 0 to 1.
    """
    forecast_replay = _ReplayedForecasts(scenario, forecasts)
    origins = origins_at(forecasts, work)
    initial = _initial_replicas(scenario, work)
    hpa = Autoscaler(scenario.rules, scenario.per_replica, [-1] * initial)
    hpa_replicas, floor = Replicas(initial, initial), scenario.rules.minimum
    state = DecisionState(since=work.begins_at)
    counts, events = np.empty((3, len(work)), np.int32), np.zeros((2, len(work)), np.int32)
    changes: list[FloorChange] = []
    ages, metrics = work.age_steps.tolist(), work.metric.tolist()
    for step, origin in enumerate(origins.tolist()):
        now = work.at(step)
        demand = Demand(metrics[step], now - ages[step] * STEP)
        decision = decide(forecast_replay.situation(now, origin, demand, state, hpa_replicas, floor))
        if decision.floor != floor:
            changes.append(FloorChange(step, floor, decision.floor, decision.source.value, decision.message))
        state, floor = decision.state, decision.floor
        hpa_replicas = hpa.advance(metrics[step], floor)
        counts[:, step] = hpa_replicas.existing, hpa_replicas.ready, floor
        if scenario.events:
            events[:, step] = _event_recommendation(decision)
        if step % _REPORT_INTERVAL_STEPS == 0:
            report(step / len(work))
    report(1.0)
    existing, ready, floors = counts
    return Replayed(existing, ready, floors, events[0], events[1] > 0, tuple(changes))


def _initial_replicas(scenario: Scenario, work: Workload) -> int:
    """Return the replicas that the HPA keeps for the demand of the first step."""
    desired = int(np.ceil(work.metric[0] / (scenario.hpa_target * scenario.per_replica)))
    return min(max(desired, scenario.rules.minimum, 1), scenario.rules.maximum)


def _event_recommendation(decision: Decision) -> tuple[int, int]:
    """The highest recommendation of an event, and whether the forecast was suppressed."""
    of_events = [
        recommendation.replicas
        for recommendation in decision.recommendations
        if recommendation.source is Source.EVENT and recommendation.applies
    ]
    has_forecast = any(recommendation.source is Source.FORECAST for recommendation in decision.recommendations)
    return max(of_events, default=0), not has_forecast


@dataclass(slots=True)
class _ReplayedForecasts:
    """The decision inputs of one policy at each step, from what was known by then."""

    scenario: Scenario
    forecasts: RollingForecasts
    _origin: int = -1
    _current_forecast: CurrentForecast | None = None
    _occurrences: tuple[EventWindow, ...] = ()
    _baselines: dict[tuple[str, datetime, int], Forecast] = field(
        default_factory=dict[tuple[str, datetime, int], Forecast]
    )
    _expansions: tuple[Expansion, ...] = ()

    def __post_init__(self) -> None:
        series = self.forecasts.series
        since, until = within_calendar(series.start) - LOOK_BACK, within_calendar(series.end) + LOOK_AHEAD
        self._expansions = tuple(expand(event, since, until) for event in self.scenario.events)

    def situation(
        self, now: datetime, origin: int, demand: Demand, state: DecisionState, hpa_replicas: Replicas, floor: int
    ) -> Situation:
        scenario, refresh = self.scenario, self.forecasts.series.step
        if origin != self._origin:
            self._origin = origin
            self._current_forecast = self._forecast_at(origin)
            self._occurrences = self._active(now, refresh)
        return Situation(
            now=now,
            policy=scenario.policy,
            observed=Observed(
                uid="simulated",
                minimum=floor,
                maximum=None,
                current_replicas=hpa_replicas.existing,
                ready_replicas=hpa_replicas.ready,
                target_utilization=scenario.hpa_target,
                utilization=None,
                scaled_to_zero=False,
                owner=None,
                floor_managers=(),
            ),
            state=state,
            current_forecast=self._current_forecast,
            demand=demand,
            events=tuple(self._baseline(window, now) for window in self._occurrences if now < window.span.end),
            lead_time=scenario.lead_time,
            margin=refresh,
            metrics_max_age=max(MAX_AGE, 2 * refresh),
            per_replica=scenario.per_replica,
        )

    def _forecast_at(self, origin: int) -> CurrentForecast | None:
        """Return the newest forecast at an origin; None without one. A bin without data ends without a new forecast."""
        values, oldest = self.forecasts.series.values, max(self.forecasts.first, origin - self.forecasts.plan.reach)
        newest = next((at for at in range(origin, oldest - 1, -1) if np.isfinite(values[at - 1])), None)
        if newest is None:
            return None
        forecast = self.forecasts.at(newest)
        step = forecast.step
        ends = forecast.valid_until - self.scenario.lead_time - step
        return CurrentForecast(
            forecast,
            max(ends, forecast.origin + step),
            ForecastSource.FRESH if newest == origin else ForecastSource.LAST,
        )

    def _active(self, now: datetime, refresh: timedelta) -> tuple[EventWindow, ...]:
        """Return the windows of the events that act before the next forecast."""
        if not self.scenario.events:
            return ()
        near = [window for expansion in self._expansions for window in upcoming_occurrences(expansion, now)]
        return active_occurrences(self.scenario.policy, near, now, self.scenario.lead_time, 2 * refresh)

    def _baseline(self, window: EventWindow, now: datetime) -> EventBaseline:
        acts_from = window.acts_from(self.scenario.lead_time)
        if now < acts_from:
            # Each new forecast replaces the baseline until the event begins to act.
            origin = max(self._origin, self.forecasts.first)
        else:
            series = self.forecasts.series
            origin = max(min((acts_from - series.start) // series.step, self._origin), self.forecasts.first)
        known = known_event(window.event, window.occurrence)
        key = (window.event.metadata.name, window.occurrence.start, origin)
        if key not in self._baselines:
            span = window.span.end - self.forecasts.moment(origin)
            self._baselines[key] = self.forecasts.without_event(origin, span, known)
        learned = self.forecasts.learned_effect(origin, known)
        return EventBaseline(window, self._baselines[key], learned)
