"""The demo in arithmetic, but for what decides: the product's own decision code, on its own naive forecasts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from forecasting.forecast import Forecast
from forecasting.forecaster import ModelChoice
from forecasting.scaling.simulation import Autoscaler, AutoscalerRules, Replicas
from predictive_scaling.control.demand_window import BIN, HISTORY, binned
from predictive_scaling.decision.decide import decide
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
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore
from predictive_scaling.stack.demo.manifests import HORIZON, LEAD_TIME, RAMP, policy, upcoming_event
from predictive_scaling.stack.demo.measure import DeploymentState, Observation
from predictive_scaling.stack.demo.scenario import DemoScenario
from predictive_scaling.stack.demo.workload import MINUTE, Match

STEP = timedelta(seconds=15)
SAMPLE_DELAY = timedelta(seconds=30)
"""From a minute's end until its sample is used."""
REFRESH = BIN
"""Between two forecasts; the operator's default is a minute, but arithmetic shall be quick."""
_KEY = SeriesKey("sports-site", "requests_per_minute", "Sum")


@dataclass
class SimulatedDemo:
    """One replay; `observations` goes through it from the beginning."""

    scenario: DemoScenario
    models: Path
    _policy: ScalingPolicy = field(init=False)
    _events: list[tuple[BusinessEvent, Match]] = field(init=False)
    _forecasts: dict[datetime, Forecast] = field(default_factory=dict[datetime, Forecast])

    def __post_init__(self) -> None:
        self._policy = parse_policy(_as_stored(policy(self.scenario)))
        self._events = [(parse_event(_as_stored(upcoming_event(match))), match) for match in self.scenario.matches]
        self._model_store = ModelStore(self.models)

    def observations(self) -> Iterator[Observation]:
        """What the demo would see, every 15 seconds of the window."""
        begin, per_replica = self.scenario.begins_at, self.scenario.per_replica
        hpa_only, predictive = (Autoscaler(AutoscalerRules(), per_replica, [-1, -1]) for _ in range(2))
        state, observation, floor = DecisionState(since=begin), Replicas(2, 2), 1
        for step in range(self.scenario.minutes * 4):
            now = begin + step * STEP
            known = (now - SAMPLE_DELAY).replace(second=0)
            metric = self.scenario.demand_at(known - MINUTE)
            decision = decide(self._situation(now, known, metric, state, observation, floor))
            state, floor = decision.state, decision.floor
            hpa_only_now, observation = hpa_only.advance(metric, 1), predictive.advance(metric, floor)
            yield Observation(
                now,
                self.scenario.demand_at(now),
                DeploymentState(hpa_only_now.existing, hpa_only_now.ready, 1),
                DeploymentState(observation.existing, observation.ready, floor),
            )

    def _situation(
        self, now: datetime, known: datetime, metric: float, state: DecisionState, observation: Replicas, floor: int
    ) -> Situation:
        current_forecast = self._forecast(known - (known - self.scenario.begins_at) % REFRESH)
        observed = Observed("hpa", floor, 60, observation.existing, observation.ready, 0.8, None, False, None, ())
        return Situation(
            now=now,
            policy=self._policy,
            observed=observed,
            state=state,
            current_forecast=CurrentForecast(current_forecast, current_forecast.origin + HORIZON, ForecastSource.FRESH),
            demand=Demand(metric, known),
            events=tuple(self._base(event, match, now, current_forecast) for event, match in self._events),
            lead_time=LEAD_TIME,
            refresh=REFRESH,
            metrics_max_age=5 * MINUTE,
            per_replica=self.scenario.per_replica,
        )

    def _base(self, event: BusinessEvent, match: Match, now: datetime, newest: Forecast) -> EventBaseline:
        window = event_window(event, Span(match.start, match.end))
        acts_from = match.start - RAMP - LEAD_TIME
        return EventBaseline(window, newest if now < acts_from else self._forecast(acts_from))

    def _forecast(self, until: datetime) -> Forecast:
        if until not in self._forecasts:
            start = until - HISTORY
            minutes = np.array([value for _, value in self.scenario.samples(start, until)], dtype=np.float32)
            series = binned("sports-site", until - len(minutes) * MINUTE, minutes, step=BIN, zero_is_valid=False)
            assert series is not None
            request = ForecastRequest(_KEY, series, ModelChoice.AUTO, HORIZON // BIN)
            self._forecasts[until] = self._model_store.forecast({"site": request})["site"]
        return self._forecasts[until]


def _as_stored(manifest: dict[str, object]) -> dict[str, object]:
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict)
    return {**manifest, "metadata": {**metadata, "uid": str(metadata["name"]), "generation": 1}}
