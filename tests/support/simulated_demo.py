"""The demo in arithmetic, but for what learns and decides: the product's own model and decision code."""

from dataclasses import dataclass, replace

import numpy as np

from forecasting.forecaster import ModelChoice
from forecasting.scaling.simulation_grid import Counts
from forecasting.series import Series
from predictive_scaling.backtesting.replay import replay
from predictive_scaling.backtesting.rolling_forecasts import Plan
from predictive_scaling.backtesting.traces.recorded import Trace, checked
from predictive_scaling.backtesting.walk_forward import walk_forward
from predictive_scaling.control.demand_window import BIN
from predictive_scaling.decision.events.occurrences import known_events
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_policy import parse_policy
from predictive_scaling.simulation.outcomes import Outcome, ScalingSimulation, outcome
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import workload
from predictive_scaling.stack.demo.manifests import event, policy
from predictive_scaling.stack.demo.scenario import HPA_UTILIZATION, POD_START, DemoScenario
from predictive_scaling.stack.demo.workload import MINUTE

_AHEAD = 6
"""Bins ahead that a decision needs."""


@dataclass(frozen=True, slots=True)
class SimulatedDemo:
    """The outcomes of both Deployments. event_floors: the highest recommendation of an event at each step."""

    hpa_only: Outcome
    predictive: Outcome
    event_floors: Counts


def simulated_demo(scenario: DemoScenario) -> SimulatedDemo:
    """Replay a day with the model that learned from all demand and matches before it."""
    parsed, demand = parse_policy(policy(scenario)), scenario.demand
    until = round((scenario.ends_at - demand.start) / MINUTE)
    minutes = Series(demand.name, demand.start, MINUTE, demand.values[:until])
    events = tuple(parse_event(event(match)) for match in (*scenario.earlier, *scenario.matches))
    series, _ = checked(Trace(minutes), BIN, zero_is_valid=False)
    context = replace(forecast_context(parsed), events=known_events(events, series.start, series.end))
    series = replace(series, context=context)
    begin = round((scenario.begins_at - series.start) / BIN)
    plan = Plan((begin, len(series.values)), begin, np.arange(1, _AHEAD + 1), _AHEAD)
    forecasts = walk_forward(series, plan, ModelChoice.AUTO, report=lambda stage, share: None)
    work = workload(minutes, scenario.begins_at, scenario.ends_at)
    target = HPA_UTILIZATION
    simulated = Scenario(parsed, events, scenario.per_replica, target, POD_START)
    replayed = replay(simulated, work, forecasts, lambda share: None)
    return SimulatedDemo(
        ScalingSimulation(simulated, work, forecasts).hpa_only(np.array([target]))[0],
        outcome(work, replayed.existing, replayed.ready, scenario.per_replica),
        replayed.event_recommendations,
    )
