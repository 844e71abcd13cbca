"""A replay of the demo in arithmetic: what a report is made from, without a cluster."""

import math
from datetime import date, timedelta

import numpy as np

from forecasting.scaling.simulation import AutoscalerRules, Replicas, Simulation, no_floor, simulate
from predictive_scaling.stack.demo.measure import Band, DeploymentState, Observation, compare, forecast_quality
from predictive_scaling.stack.demo.replay_record import DecisionLine, ReplayRecord
from predictive_scaling.stack.demo.result import LearnedMatch, Result
from predictive_scaling.stack.demo.same_hours import hpa_at_same_hours
from predictive_scaling.stack.demo.scenario import DemoScenario, make_scenario
from predictive_scaling.stack.demo.workload import MINUTE, generated_workload

RAMP, LEAD = timedelta(minutes=15), timedelta(minutes=9)
STEP = timedelta(seconds=15)


def expected_floors(scenario: DemoScenario, multiplier: float) -> list[int]:
    """The floor at each 15 seconds when every match is expected to multiply the demand before its ramp."""
    floors = [1] * (scenario.minutes * 4)
    for match in scenario.matches:
        influence = match.start - RAMP - LEAD
        base = float(np.mean([scenario.demand_at(influence - ago * MINUTE) for ago in (1, 2, 3)]))
        for step in range(len(floors)):
            predictive = scenario.begins_at + step * STEP + LEAD
            if influence + LEAD <= predictive < match.end + LEAD:
                factor = 1 + (multiplier - 1) * min(1.0, (predictive - match.start + RAMP) / RAMP)
                floors[step] = max(floors[step], math.ceil(base * factor / scenario.per_replica))
    return floors


def simulated(scenario: DemoScenario, multiplier: float | None) -> Simulation:
    """The day at 15-second steps, with the demo's HPA and pods."""
    demand = np.repeat(scenario.replayed(), 4)
    if multiplier is None:
        return simulate(demand, scenario.per_replica, AutoscalerRules(), no_floor)
    floors = expected_floors(scenario, multiplier)

    def floor_at(step: int, observation: Replicas) -> int:
        return floors[step]

    return simulate(demand, scenario.per_replica, AutoscalerRules(), floor_at)


def a_replay_record(day: date | None = None, multiplier: float = 3.0) -> ReplayRecord:
    """A full day of the demo; the forecast is the demand itself, a little late."""
    scenario = make_scenario(generated_workload(), day)
    hpa_only, predictive = simulated(scenario, None), simulated(scenario, multiplier)
    floors = expected_floors(scenario, multiplier)
    observations = tuple(
        Observation(
            scenario.begins_at + step * STEP,
            scenario.demand_at(scenario.begins_at + step * STEP),
            DeploymentState(int(hpa_only.existing[step]), int(hpa_only.ready[step]), 1),
            DeploymentState(int(predictive.existing[step]), int(predictive.ready[step]), floors[step]),
        )
        for step in range(len(floors))
    )
    changes = [step for step in range(1, len(floors)) if floors[step] != floors[step - 1]]
    decisions = tuple(
        DecisionLine(
            scenario.begins_at + step * STEP,
            floors[step - 1],
            floors[step],
            "Event",
            f"Event {scenario.matches[0].name} multiplies 41,000 requests a minute by 2.4: {floors[step]} replicas.",
            "succeeded",
        )
        for step in changes
    )
    forecasts = tuple(
        (at, Band(0.97 * scenario.demand_at(at - 10 * MINUTE), 1.25 * scenario.demand_at(at - 10 * MINUTE)))
        for at in (scenario.begins_at + minute * MINUTE for minute in range(0, scenario.minutes, 5))
    )
    quality = forecast_quality([(band, scenario.demand_at(at)) for at, band in forecasts])
    comparison = compare(observations, scenario.ends_at, scenario.per_replica)
    result = Result(
        trace=scenario.demand.name,
        minutes=scenario.minutes,
        comparison=comparison,
        same_hours=hpa_at_same_hours(scenario.replayed(), scenario.per_replica, comparison.hours_ratio),
        decisions=len(decisions),
        failed_decisions=0,
        forecast=quality,
        learned=tuple(LearnedMatch(match.name, match.start, 3.25, 2.25, 4.5, 42) for match in scenario.matches),
    )
    return ReplayRecord(scenario, 100.0, observations, forecasts, "LightGBM", decisions, result)
