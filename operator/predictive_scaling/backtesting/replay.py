"""A policy over a stretch of demand, by the decision code that runs live, beside the HPA whose minimum it sets."""

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
"""Of metrics that may lower a floor: the default of the live setting."""
_TELL_EVERY = 2_000


@dataclass(frozen=True, slots=True)
class Progress:
    """A change of the floor, and why."""

    step: int
    before: int
    after: int
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What happened. All shapes (steps,).

    event_wishes: what events asked for. suppressed: where they silenced the forecast.
    """

    existing: Counts
    ready: Counts
    floors: Counts
    event_wishes: Counts
    suppressed: np.ndarray[tuple[int], np.dtype[np.bool_]]
    changes: tuple[Progress, ...]


def replay(setting: Scenario, work: Workload, foresight: RollingForecasts, say: Callable[[float], None]) -> Replayed:
    """Decide every 15 seconds, as the operator does, and let the HPA follow."""
    teller = _ReplayedForecasts(setting, foresight)
    origins = origins_at(foresight, work)
    begin = _begin(setting, work)
    hpa = Autoscaler(setting.rules, setting.per_replica, [-1] * begin)
    seen, floor = Replicas(begin, begin), setting.rules.minimum
    memory = DecisionState(since=work.begins_at)
    found, events = np.empty((3, len(work)), np.int32), np.zeros((2, len(work)), np.int32)
    changes: list[Progress] = []
    ages, metrics = work.age_steps.tolist(), work.metric.tolist()
    for step, origin in enumerate(origins.tolist()):
        now = work.at(step)
        demand = Demand(metrics[step], now - ages[step] * STEP)
        decision = decide(teller.situation(now, origin, demand, memory, seen, floor))
        if decision.floor != floor:
            changes.append(Progress(step, floor, decision.floor, decision.source.value, decision.message))
        memory, floor = decision.state, decision.floor
        seen = hpa.advance(metrics[step], floor)
        found[:, step] = seen.existing, seen.ready, floor
        if setting.events:
            events[:, step] = _of_events(decision)
        if step % _TELL_EVERY == 0:
            say(step / len(work))
    say(1.0)
    existing, ready, floors = found
    return Replayed(existing, ready, floors, events[0], events[1] > 0, tuple(changes))


def _begin(setting: Scenario, work: Workload) -> int:
    wanted = int(np.ceil(work.metric[0] / (setting.hpa_target * setting.per_replica)))
    return min(max(wanted, setting.rules.minimum, 1), setting.rules.maximum)


def _of_events(decision: Decision) -> tuple[int, int]:
    """The strongest wish of an event, and whether the forecast had no say."""
    wishes = [wish.replicas for wish in decision.recommendations if wish.source is Source.EVENT and wish.applies]
    return max(wishes, default=0), not any(wish.source is Source.FORECAST for wish in decision.recommendations)


@dataclass(slots=True)
class _ReplayedForecasts:
    """Situations of one policy, each from what was known by then."""

    setting: Scenario
    foresight: RollingForecasts
    _origin: int = -1
    _outlook: CurrentForecast | None = None
    _occurrences: tuple[EventWindow, ...] = ()
    _bases: dict[tuple[str, datetime, int], Forecast] = field(default_factory=dict[tuple[str, datetime, int], Forecast])
    _expansions: tuple[Expansion, ...] = ()

    def __post_init__(self) -> None:
        series = self.foresight.series
        since, until = within_calendar(series.start) - LOOK_BACK, within_calendar(series.end) + LOOK_AHEAD
        self._expansions = tuple(expand(event, since, until) for event in self.setting.events)

    def situation(
        self, now: datetime, origin: int, demand: Demand, memory: DecisionState, seen: Replicas, floor: int
    ) -> Situation:
        setting, refresh = self.setting, self.foresight.series.step
        if origin != self._origin:
            self._origin = origin
            self._outlook = self._made(origin)
            self._occurrences = self._active(now, refresh)
        return Situation(
            now=now,
            policy=setting.policy,
            observed=Observed(
                uid="simulated",
                minimum=floor,
                maximum=None,
                current_replicas=seen.existing,
                ready_replicas=seen.ready,
                target_utilization=setting.hpa_target,
                utilization=None,
                scaled_to_zero=False,
                owner=None,
                floor_managers=(),
            ),
            state=memory,
            current_forecast=self._outlook,
            demand=demand,
            events=tuple(self._baseline(window, now) for window in self._occurrences if now < window.span.end),
            lead_time=setting.lead_time,
            refresh=refresh,
            metrics_max_age=max(MAX_AGE, 2 * refresh),
            per_replica=setting.per_replica,
        )

    def _made(self, origin: int) -> CurrentForecast | None:
        """The newest forecast that was made: none is made on a bin that has no data."""
        values, oldest = self.foresight.series.values, max(self.foresight.first, origin - self.foresight.plan.reach)
        made = next((at for at in range(origin, oldest - 1, -1) if np.isfinite(values[at - 1])), None)
        if made is None:
            return None
        forecast = self.foresight.at(made)
        step = forecast.step
        ends = forecast.valid_until - self.setting.lead_time - step
        return CurrentForecast(
            forecast, max(ends, forecast.origin + step), ForecastSource.FRESH if made == origin else ForecastSource.LAST
        )

    def _active(self, now: datetime, refresh: timedelta) -> tuple[EventWindow, ...]:
        """Those that matter until the next forecast."""
        if not self.setting.events:
            return ()
        near = [window for expansion in self._expansions for window in upcoming_occurrences(expansion, now)]
        return active_occurrences(self.setting.policy, near, now, self.setting.lead_time, 2 * refresh)

    def _baseline(self, window: EventWindow, now: datetime) -> EventBaseline:
        acts_from = window.acts_from(self.setting.lead_time)
        if now < acts_from:
            # It is made again with each forecast until the event starts to act.
            origin = max(self._origin, self.foresight.first)
        else:
            series = self.foresight.series
            origin = max(min((acts_from - series.start) // series.step, self._origin), self.foresight.first)
        known = known_event(window.event, window.occurrence)
        name = (window.event.metadata.name, window.occurrence.start, origin)
        if name not in self._bases:
            span = window.span.end - self.foresight.moment(origin)
            self._bases[name] = self.foresight.long(origin, span, known)
        learned = self.foresight.learned(origin, known)
        return EventBaseline(window, self._bases[name], learned)
