"""One backtest from its inputs to everything that is told of it. Pure but for the time that it takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.context import KnownEvent
from forecasting.model_choice import ModelChoice
from forecasting.scaling.frontier import Point, Prices
from forecasting.scaling.simulation_grid import Grid
from forecasting.series import Series
from predictive_scaling.backtesting.accuracy import Accuracy, accuracy, naive_wape
from predictive_scaling.backtesting.manifests import adjusted
from predictive_scaling.backtesting.near_events import NearEvents, near_events
from predictive_scaling.backtesting.replay import MAX_AGE, Replayed, replay
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts, plan_of, walk_forward
from predictive_scaling.backtesting.traces.recorded import Trace, checked, demand_by_minute
from predictive_scaling.backtesting.tuned import TunedSettings, at, choose, grid_of
from predictive_scaling.clock import monotonic
from predictive_scaling.decision.events.occurrences import known_events
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import within_calendar
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.simulation.advice import Advice, advise, hotter
from predictive_scaling.simulation.outcomes import (
    EventFloors,
    HpaOnly,
    Outcome,
    ScalingSimulation,
    at_same_hours,
    outcome,
)
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import LATE, Workload, learned_capacity, workload

_AHEAD = timedelta(days=1)
"""Events that begin so long after the end of a trace still are known to its last forecasts."""
DEFAULT_LEAD_TIME = timedelta(minutes=3)
BASELINES = {"last_value": "LastValue", "seasonal_naive": "SeasonalNaive"}
Say = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to look at the trace.

    split: the share that is history only. lead_time: None for the policy's own, or three minutes where that is Auto.
    model: None for the policy's own. As live, the gate judges Auto only.
    """

    split: float = 0.7
    refits: int = 4
    horizons: tuple[timedelta, ...] = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30, 60))
    resolution: timedelta = timedelta(minutes=5)
    lead_time: timedelta | None = None
    model: ModelChoice | None = None


@dataclass(frozen=True, slots=True)
class Tuned:
    """A setting that was chosen from the past alone, and what it did afterwards."""

    quantile: float
    hpa_target: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class SameHours:
    """The HPA alone at the replica-hours of each way of scaling, its target chosen with hindsight."""

    predictive: HpaOnly
    tuned: HpaOnly
    tuned_with_target: HpaOnly


@dataclass(frozen=True, slots=True)
class Comparison:
    """All ways of setting replicas over the same demand.

    same_hours: what the HPA alone does with the replica-hours of each; without it a gain says nothing, as an HPA with a
    cooler target is short for fewer minutes too. hpa_tuned: the HPA alone at the target that `tuned_with_target`'s
    prices choose from the same past.
    """

    hpa_only: Outcome
    hpa_tuned: HpaOnly
    same_hours: SameHours
    seasonal_naive: Outcome
    predictive: Outcome
    tuned: Tuned
    tuned_with_target: Tuned
    oracle: Outcome


@dataclass(frozen=True, slots=True)
class Backtest:
    """Everything that was found out."""

    trace: Trace
    series: Series
    policy: ScalingPolicy
    scenario: Scenario
    forecasts: RollingForecasts
    work: Workload
    demand_step: timedelta
    """Between the values of the demand that the replicas had to carry."""
    replayed: Replayed
    hpa_replayed: Grid
    """The HPA alone, in one column."""
    accuracy: dict[int, Accuracy]
    """By horizon in bins."""
    near_events: dict[int, NearEvents]
    """By horizon in bins; empty where no event was known."""
    baselines: dict[str, dict[int, float]]
    comparison: Comparison
    frontier: tuple[Point, ...]
    prices: tuple[Prices, Prices]
    """For the quantile alone, and for it with the target."""
    advice: Advice
    seconds: float


def run(trace: Trace, policy: ScalingPolicy, events: Sequence[BusinessEvent], options: Options, say: Say) -> Backtest:
    """Replay a trace.

    Raises InvalidTraceError where it is too short or has nothing in it, InvalidManifestError where an event has more
    occurrences than can be walked through.
    """
    began = monotonic()
    series, trace = checked(trace, options.resolution, zero_is_valid=policy.spec.demand.zero_is_valid)
    series = replace(series, context=replace(forecast_context(policy), events=_known(events, series)))
    setting = _scenario(policy, tuple(events), series, options)
    foresight = _forecasts(series, setting, options, say)
    split = foresight.moment(foresight.plan.split)
    demand = demand_by_minute(trace, series, zero_is_valid=policy.spec.demand.zero_is_valid)
    tuning = ScalingSimulation(setting, workload(demand, foresight.moment(foresight.first + 1), split), foresight)
    say("drawing the frontier of the past", 0.0)
    chosen = choose(_tuning_with_events(tuning, foresight, say))
    if policy.spec.forecast.objective is not None:
        # As live: a policy with prices covers the quantile that they chose.
        setting = at(setting, chosen.quantile)
    field = ScalingSimulation(setting, workload(demand, split, series.end), foresight)
    replayed = replay(setting, field.work, foresight, lambda done: say("replaying the policy", done))
    field = _with_events(field, replayed)
    contest = _comparison(field, chosen, foresight, replayed, say)
    say("drawing the frontier", 0.0)
    points = field.frontier(*grid_of(setting))
    horizons = _bins(options.horizons, series)
    occurring = _occurring(events, series)
    return Backtest(
        trace=trace,
        series=series,
        policy=policy,
        scenario=setting,
        forecasts=foresight,
        work=field.work,
        demand_step=demand.step,
        replayed=replayed,
        hpa_replayed=field.replayed_hpa_only(),
        accuracy={bins: accuracy(foresight, bins) for bins in horizons},
        near_events={bins: near_events(foresight, occurring, bins) for bins in horizons} if occurring else {},
        baselines={
            shown: {bins: naive_wape(foresight, name, bins) for bins in horizons} for shown, name in BASELINES.items()
        },
        comparison=contest,
        frontier=tuple(points),
        prices=chosen.prices,
        advice=_advice(field, contest.hpa_only),
        seconds=monotonic() - began,
    )


def _known(events: Sequence[BusinessEvent], series: Series) -> tuple[KnownEvent, ...]:
    """What models are told: events without a type teach nothing, nor does what has one change a forecast untaught."""
    typed = [event for event in events if event.spec.type]
    return known_events(typed, series.start, within_calendar(series.end) + _AHEAD)


def _occurring(events: Sequence[BusinessEvent], series: Series) -> tuple[KnownEvent, ...]:
    return known_events(events, series.start, series.end)


def _scenario(policy: ScalingPolicy, events: tuple[BusinessEvent, ...], series: Series, options: Options) -> Scenario:
    lead_time = options.lead_time
    if lead_time is None:
        lead_time = DEFAULT_LEAD_TIME if policy.spec.forecast.lead_time is None else policy.spec.forecast.lead_time
    target = policy.spec.demand.target_utilization / 100
    per_replica = policy.spec.demand.per_replica or learned_capacity(_before_split(series, options.split), target)
    return Scenario(adjusted(policy, lead_time), events, per_replica, target, lead_time)


def _before_split(series: Series, split: float) -> Series:
    """What is known when the replay begins. Raises InvalidTraceError where no demand was seen by then."""
    past = series.values[: round(len(series.values) * split)]
    if not (past > 0).any():
        raise InvalidTraceError(
            f"{series.name} has no demand before the split at {split:g}, from which the capacity of a replica could be "
            "learned; choose a later --split, or state demand.perReplica in the --policy"
        )
    return replace(series, values=past)


def _forecasts(series: Series, setting: Scenario, options: Options, say: Say) -> RollingForecasts:
    step = series.step
    needed = -(-(LATE + setting.lead_time + 2 * step) // step)
    horizons = _bins(options.horizons, series)
    live = setting.lead_time + 2 * step + MAX_AGE
    reach = max(-(-live // step), *horizons, round(setting.policy.spec.forecast.horizon / step))
    ahead = sorted({*range(1, needed + 1), *horizons, reach})
    plan = plan_of(series, options.split, options.refits, ahead, reach)
    if not plan.cuts[0] < plan.split < len(series.values) - max(ahead):
        raise InvalidTraceError(
            f"{series.name} has {len(series.values):,} bins; split at {options.split:g} that leaves nothing to learn "
            f"from or nothing to judge {max(ahead)} bins ahead"
        )
    choice = options.model or setting.policy.spec.forecast.model
    return walk_forward(series, plan, choice, say=say)


def _bins(horizons: Sequence[timedelta], series: Series) -> list[int]:
    return sorted({max(1, round(horizon / series.step)) for horizon in horizons})


def _with_events(field: ScalingSimulation, replayed: Replayed) -> ScalingSimulation:
    if not field.scenario.events:
        return field
    return replace(field, events=EventFloors(replayed.event_wishes, replayed.suppressed))


def _tuning_with_events(tuning: ScalingSimulation, foresight: RollingForecasts, say: Say) -> ScalingSimulation:
    """What events asked for before the split is known from the live code only."""
    if not tuning.scenario.events:
        return tuning
    past = replay(tuning.scenario, tuning.work, foresight, lambda done: say("replaying the past", done))
    return _with_events(tuning, past)


def _comparison(
    field: ScalingSimulation, chosen: TunedSettings, foresight: RollingForecasts, replayed: Replayed, say: Say
) -> Comparison:
    setting = field.scenario
    quantile, target = setting.policy.spec.forecast.effective_quantile, setting.hpa_target
    predictive = outcome(field.work, replayed.existing, replayed.ready, setting.per_replica)
    tuned = _tuned(field, foresight, chosen.quantile, lambda done: say("replaying the tuned policy", done))
    both = _tuned(field, foresight, chosen.both, lambda done: say("replaying the tuned policy and target", done))
    alternatives = field.hpa_by_target()
    return Comparison(
        hpa_only=field.hpa_only(np.array([target]))[0],
        hpa_tuned=next(alternative for alternative in alternatives if alternative.target == chosen.hpa_alone_target),
        same_hours=SameHours(
            *(at_same_hours(alternatives, one.replica_hours) for one in (predictive, tuned.outcome, both.outcome))
        ),
        seasonal_naive=field.by(foresight.of_baseline("SeasonalNaive"), quantile),
        predictive=predictive,
        tuned=tuned,
        tuned_with_target=both,
        oracle=field.oracle(),
    )


def _advice(field: ScalingSimulation, alone: Outcome) -> Advice:
    quantile, target = field.scenario.policy.spec.forecast.effective_quantile, field.scenario.hpa_target
    return advise(field.frontier((quantile,), hotter(target)), alone.at(0.0, target))


def _tuned(field: ScalingSimulation, foresight: RollingForecasts, chosen: Point, say: Callable[[float], None]) -> Tuned:
    """What a setting does when the live code decides."""
    setting = at(field.scenario, chosen)
    done = replay(setting, field.work, foresight, say)
    found = outcome(field.work, done.existing, done.ready, setting.per_replica)
    return Tuned(chosen.quantile, chosen.hpa_target, found)
