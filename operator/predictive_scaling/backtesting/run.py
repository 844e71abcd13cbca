"""Run one backtest: from a trace and a policy to all results. Pure except for measuring its duration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from forecasting.context import KnownEvent
from forecasting.forecaster import ModelChoice
from forecasting.scaling.frontier import Point, Prices
from forecasting.scaling.simulation_grid import Grid
from forecasting.series import Series
from predictive_scaling.backtesting.accuracy import Accuracy, NearEvents, accuracy, naive_wape, near_events
from predictive_scaling.backtesting.assumptions import UNKNOWN, Assumptions, LiveValues, assumptions_of
from predictive_scaling.backtesting.comparison import Comparison, PolicyReplays, Variant, compare, compare_variants
from predictive_scaling.backtesting.leading import IndicatorEffect, with_indicators
from predictive_scaling.backtesting.manifests import replayable
from predictive_scaling.backtesting.replay import MAX_AGE, Replayed, replay
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts, plan_of
from predictive_scaling.backtesting.traces.recorded import Trace, checked, demand_by_minute
from predictive_scaling.backtesting.traces.regressors import RecordedRegressor
from predictive_scaling.backtesting.tuned import choose, grid_of, with_settings
from predictive_scaling.backtesting.walk_forward import ReportProgress, walk_forward
from predictive_scaling.clock import monotonic
from predictive_scaling.decision.events.occurrences import known_events
from predictive_scaling.decision.forecast_context import forecast_context
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import within_calendar
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.simulation.advice import Advice, advise, higher_targets
from predictive_scaling.simulation.outcomes import EventFloors, Outcome, ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario, bounded
from predictive_scaling.simulation.workload import METRIC_DELAY, Workload, workload

_EVENT_LOOK_AHEAD = timedelta(days=1)
"""Maximum time from the end of the trace to the start of an event that the last forecasts know."""
BASELINES = {"last_value": "LastValue", "seasonal_naive": "SeasonalNaive"}


@dataclass(frozen=True, slots=True)
class Options:
    """How to replay the trace.

    split: share of the trace that is history only. lead_time: None uses the policy's own; if that is Auto, the one in
    `live`, or three minutes. model: None uses the policy's own. As live, the quality gate applies to Auto only.
    quantiles, prices: further variants of the policy to compare. live: for what the policy does not state.
    """

    split: float = 0.7
    refits: int = 4
    horizons: tuple[timedelta, ...] = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30, 60))
    resolution: timedelta = timedelta(minutes=5)
    lead_time: timedelta | None = None
    model: ModelChoice | None = None
    quantiles: tuple[float, ...] = ()
    prices: tuple[Prices, ...] = ()
    live: LiveValues = UNKNOWN


@dataclass(frozen=True, slots=True)
class Backtest:
    """All results of a backtest."""

    trace: Trace
    series: Series
    policy: ScalingPolicy
    assumptions: Assumptions
    scenario: Scenario
    forecasts: RollingForecasts
    work: Workload
    demand_step: timedelta
    """Interval between the values of the demand that the replicas had to carry."""
    replayed: Replayed
    hpa_replayed: Grid
    """The HPA alone, in one column."""
    accuracy: dict[int, Accuracy]
    """By horizon in bins."""
    near_events: dict[int, NearEvents]
    """By horizon in bins; empty if no event was known."""
    baselines: dict[str, dict[int, float]]
    comparison: Comparison
    variants: tuple[Variant, ...]
    frontier: tuple[Point, ...]
    prices: tuple[Prices, Prices]
    """For the quantile alone, and for it with the target."""
    advice: Advice
    seconds: float
    indicators: IndicatorEffect | None = None
    """What leading indicators brought after the split; None without any."""


def run(
    trace: Trace,
    policy: ScalingPolicy,
    events: Sequence[BusinessEvent],
    options: Options,
    report: ReportProgress,
    regressors: Sequence[RecordedRegressor] = (),
) -> Backtest:
    """Replay a trace. regressors: recorded leading indicators; forecasts without them where there are none.

    Raises InvalidTraceError if it is too short or has no demand, InvalidManifestError if an event has more occurrences
    than can be expanded.
    """
    began = monotonic()
    series, trace = checked(trace, options.resolution, zero_is_valid=policy.spec.demand.zero_is_valid)
    series = replace(series, context=replace(forecast_context(policy), events=_typed_events(events, series)))
    assumed = assumptions_of(policy, series, options.split, options.lead_time, options.live)
    scenario = _scenario(policy, tuple(events), assumed)
    forecasts, effect = with_indicators(
        _forecasts(series, scenario, options, report),
        [regressor.rebinned(series.step) for regressor in regressors],
        report,
    )
    trace = replace(trace, repairs=(*trace.repairs, *_left_out(policy, regressors)))
    split = forecasts.moment(forecasts.plan.split)
    demand = demand_by_minute(trace, series, zero_is_valid=policy.spec.demand.zero_is_valid)
    tuning = ScalingSimulation(scenario, workload(demand, forecasts.moment(forecasts.first + 1), split), forecasts)
    report("computing the frontier of the past", 0.0)
    chosen = choose(_tuning_with_events(tuning, forecasts, report), options.prices)
    if policy.spec.forecast.objective is not None:
        # As live: a policy with prices covers the quantile that they chose.
        scenario = with_settings(scenario, chosen.quantile.quantile, chosen.quantile.hpa_target)
    simulation = ScalingSimulation(scenario, workload(demand, split, series.end), forecasts)
    replayed = replay(scenario, simulation.work, forecasts, lambda done: report("replaying the policy", done))
    simulation = _with_events(simulation, replayed)
    replays, alternatives = PolicyReplays(simulation, forecasts, report), simulation.hpa_by_target()
    replays.add(replayed)
    comparison = compare(replays, chosen, alternatives)
    variants = compare_variants(replays, chosen, alternatives, options.quantiles)
    report("computing the frontier", 0.0)
    points = simulation.frontier(*grid_of(scenario))
    horizons = _bins(options.horizons, series)
    occurring = _known_events(events, series)
    return Backtest(
        trace=trace,
        series=series,
        policy=policy,
        assumptions=assumed,
        scenario=scenario,
        forecasts=forecasts,
        work=simulation.work,
        demand_step=demand.step,
        replayed=replayed,
        hpa_replayed=simulation.replayed_hpa_only(),
        accuracy={bins: accuracy(forecasts, bins) for bins in horizons},
        near_events={bins: near_events(forecasts, occurring, bins) for bins in horizons} if occurring else {},
        baselines={
            key: {bins: naive_wape(forecasts, name, bins) for bins in horizons} for key, name in BASELINES.items()
        },
        comparison=comparison,
        variants=variants,
        frontier=tuple(points),
        prices=chosen.prices,
        advice=_advice(simulation, comparison.hpa_only),
        seconds=monotonic() - began,
        indicators=effect,
    )


def _left_out(policy: ScalingPolicy, regressors: Sequence[RecordedRegressor]) -> tuple[str, ...]:
    """Return which of the policy's leading indicators have no recorded samples, in one sentence."""
    given = [regressor.regressor.key for regressor in regressors]
    missing = [
        f"{regressor.metric} of {regressor.service}"
        for regressor in policy.spec.forecast.regressors
        if regressor.key not in given
    ]
    return (f"forecasts are without {', '.join(missing)}, of which no samples are given",) if missing else ()


def _typed_events(events: Sequence[BusinessEvent], series: Series) -> tuple[KnownEvent, ...]:
    """Return the events that models receive; they cannot learn from an event without a type."""
    typed = [event for event in events if event.spec.type]
    return known_events(typed, series.start, within_calendar(series.end) + _EVENT_LOOK_AHEAD)


def _known_events(events: Sequence[BusinessEvent], series: Series) -> tuple[KnownEvent, ...]:
    return known_events(events, series.start, series.end)


def _scenario(policy: ScalingPolicy, events: tuple[BusinessEvent, ...], assumed: Assumptions) -> Scenario:
    lead_time = assumed.lead_time.value
    replayed = bounded(replayable(policy, lead_time), assumed.maximum.value)
    return Scenario(replayed, events, assumed.per_replica.value, assumed.hpa_target.value, lead_time)


def _forecasts(series: Series, scenario: Scenario, options: Options, report: ReportProgress) -> RollingForecasts:
    step = series.step
    needed = -(-(METRIC_DELAY + scenario.lead_time + 2 * step) // step)
    horizons = _bins(options.horizons, series)
    live = scenario.lead_time + 2 * step + MAX_AGE
    reach = max(-(-live // step), *horizons, round(scenario.policy.spec.forecast.horizon / step))
    ahead = sorted({*range(1, needed + 1), *horizons, reach})
    plan = plan_of(series, options.split, options.refits, ahead, reach)
    if not plan.cuts[0] < plan.split < len(series.values) - max(ahead):
        raise InvalidTraceError(
            f"{series.name} has {len(series.values):,} bins; split at {options.split:g} that leaves nothing to learn "
            f"from or nothing to judge {max(ahead)} bins ahead"
        )
    choice = options.model or scenario.policy.spec.forecast.model
    return walk_forward(series, plan, choice, report=report)


def _bins(horizons: Sequence[timedelta], series: Series) -> list[int]:
    return sorted({max(1, round(horizon / series.step)) for horizon in horizons})


def _with_events(simulation: ScalingSimulation, replayed: Replayed) -> ScalingSimulation:
    if not simulation.scenario.events:
        return simulation
    return replace(simulation, events=EventFloors(replayed.event_recommendations, replayed.suppressed))


def _tuning_with_events(
    tuning: ScalingSimulation, forecasts: RollingForecasts, report: ReportProgress
) -> ScalingSimulation:
    """Add the event floors before the split, which only a replay of the live code provides."""
    if not tuning.scenario.events:
        return tuning
    past = replay(tuning.scenario, tuning.work, forecasts, lambda done: report("replaying the past", done))
    return _with_events(tuning, past)


def _advice(simulation: ScalingSimulation, hpa_only: Outcome) -> Advice:
    quantile, target = simulation.scenario.policy.spec.forecast.effective_quantile, simulation.scenario.hpa_target
    return advise(simulation.frontier((quantile,), higher_targets(target)), hpa_only.at(0.0, target))
