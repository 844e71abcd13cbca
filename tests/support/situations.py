"""Hypothesis strategies for the inputs of a decision.

Those that each example needs are constructed once: Hypothesis validates a new strategy at its first draw, which takes
longer than the draw.
"""

from datetime import timedelta
from functools import cache

from hypothesis import strategies as st

from predictive_scaling.decision.inputs import (
    CurrentForecast,
    DecisionState,
    Demand,
    EventBaseline,
    FloorChange,
    ForecastSource,
    Situation,
)
from predictive_scaling.resources.annotations import DIRECTION, PIN
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from tests.support.builders import NOON, a_forecast, a_policy, an_event, an_occurrence, observed

replicas = st.integers(0, 60)
demands = st.floats(0, 8000, allow_nan=False)
seconds = st.integers(0, 3600)
steps = st.one_of(st.integers(1, 60).map(str), st.integers(1, 300).map(lambda percent: f"{percent}%"))
SPREADS = (
    {},
    {0.1: 0.5, 0.5: 1.0, 0.8: 1.3, 0.9: 1.5, 0.95: 2.0},
    {0.1: 0.0, 0.5: 0.4, 0.8: 0.4, 0.9: 3.0, 0.95: 3.0},
)
TARGETS = (
    {"horizontalPodAutoscaler": {"name": "checkout"}},
    {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}},
)
bad_numbers = st.sampled_from([float("nan"), float("inf"), -1.0])
quantiles = st.integers(500, 999).map(lambda permille: f"0.{permille}")
"""Quantiles as manifests write them."""
_fallbacks = st.sampled_from(["HoldFloor", "CurrentReplicasIfHigher"])
_overrides = st.one_of(
    st.sampled_from([{}, {DIRECTION: "UpOnly"}, {DIRECTION: "DownOnly"}]), replicas.map(lambda count: {PIN: str(count)})
)
_modes = st.sampled_from(["Auto", "Recommend"])
_targets = st.sampled_from(TARGETS)
_periods = st.sampled_from(["1s", "1m", "10m"])
_stabilization_windows = st.sampled_from(["0s", "1m", "10m"])


@st.composite
def _policies(draw: st.DrawFn, *, overridden: bool) -> ScalingPolicy:
    low = draw(st.integers(0, 20))
    behavior = draw(_fallbacks)
    return a_policy(
        min=low,
        max=draw(st.integers(max(1, low), 60)),
        mode=draw(_modes),
        target=draw(_targets),
        annotations=draw(_overrides) if overridden else None,
        demand={"zeroIsValid": draw(st.booleans())},
        forecast={"utilization": draw(st.integers(20, 100)), "quantile": draw(quantiles)},
        scaleUp={"maxStep": draw(steps), "period": draw(_periods)},
        scaleDown={
            "maxStep": draw(steps),
            "period": draw(_periods),
            "stabilizationWindow": draw(_stabilization_windows),
        },
        deadBand={"replicas": draw(st.integers(0, 5)), "percent": draw(st.integers(0, 50))},
        fallback={"behavior": behavior},
    )


@cache
def policies(*, overridden: bool = False) -> st.SearchStrategy[ScalingPolicy]:
    """Active policies. overridden: some have a pin or a direction."""
    return _policies(overridden=overridden)


_medians = st.lists(st.one_of(demands, bad_numbers), min_size=1, max_size=4)
_spreads = st.sampled_from(SPREADS)
_sources = st.sampled_from(ForecastSource)


@st.composite
def _current_forecasts(draw: st.DrawFn) -> CurrentForecast:
    medians = draw(_medians)
    spread = draw(_spreads)
    origin = NOON - timedelta(seconds=draw(seconds))
    forecast = a_forecast(*medians, origin=origin, spread=spread)
    return CurrentForecast(forecast, NOON + timedelta(seconds=draw(st.integers(-600, 3600))), draw(_sources))


current_forecasts = _current_forecasts()
"""Forecasts from around now; some are expired, some have invalid values."""

_expectations = st.one_of(
    st.just({}),
    st.sampled_from(["0.1", "0.75", "1", "2.5", "20"]).map(lambda factor: {"multiplier": factor}),
    replicas.map(lambda count: {"minReplicas": count}),
)
_names = st.sampled_from(["sale", "match"])
_ramps = st.sampled_from(["0s", "90s", "15m"])
_bins = st.lists(demands, min_size=1, max_size=4)


@st.composite
def _events(draw: st.DrawFn, *, suppressing: bool, priority: int) -> EventBaseline:
    start = NOON + timedelta(seconds=draw(st.integers(-3600, 3600)))
    event = an_event(
        name=draw(_names),
        start=start,
        end=start + timedelta(seconds=draw(st.integers(1, 7200))),
        expect=draw(_expectations),
        rampUp=draw(_ramps),
        rampDown=draw(_ramps),
        priority=priority,
        suppressForecast=suppressing and draw(st.booleans()),
    )
    baseline = a_forecast(*draw(_bins), origin=start - timedelta(hours=draw(st.integers(0, 2))))
    return an_occurrence(event, baseline if draw(st.booleans()) else None)


@cache
def events(*, suppressing: bool = False, priority: int = 0) -> st.SearchStrategy[EventBaseline]:
    """Occurrences around now. suppressing: some suppress the forecast."""
    return _events(suppressing=suppressing, priority=priority)


_recommendations = st.lists(replicas, max_size=4, unique=True)
_ages = st.sampled_from([(900, 660, 600, 5), (599, 61, 60, 59), (30, 15, 10, 5)])
_changes = st.lists(st.tuples(replicas, replicas), max_size=2)
_state_ages = st.sampled_from([0, 30, 86400])
_floors = st.one_of(st.none(), replicas)
_forecast_ends = st.sampled_from([None, NOON - timedelta(minutes=5), NOON - timedelta(hours=2)])
_reference_forecasts = st.one_of(st.none(), current_forecasts.map(lambda current: current.forecast))


@st.composite
def _states(draw: st.DrawFn) -> DecisionState:
    recommendations = sorted(draw(_recommendations), reverse=True)
    ages = draw(_ages)
    changes = draw(_changes)
    return DecisionState(
        since=NOON - timedelta(seconds=draw(_state_ages)),
        floor=draw(_floors),
        recommendations=tuple(
            (NOON - timedelta(seconds=age), count) for age, count in zip(ages, recommendations, strict=False)
        ),
        changes=tuple(
            FloorChange(NOON - timedelta(seconds=age), *change) for age, change in zip(ages, changes, strict=False)
        ),
        no_forecast_since=draw(_forecast_ends),
        reference_forecast=draw(_reference_forecasts),
    )


states = _states()
"""States of a policy, including an empty one, with changes of the last minutes."""

_ready_counts = st.one_of(st.none(), st.integers(1, 60))
_optional_forecasts = st.one_of(st.none(), current_forecasts)
_optional_demands = st.one_of(
    st.none(),
    st.builds(Demand, st.one_of(demands, bad_numbers), seconds.map(lambda age: NOON - timedelta(seconds=age))),
)
_capacities = st.one_of(st.none(), bad_numbers, st.floats(0.5, 500))


@st.composite
def _situations(draw: st.DrawFn, *, suppressing: bool, overridden: bool) -> Situation:
    return Situation(
        now=NOON,
        policy=draw(policies(overridden=overridden)),
        observed=observed(draw(replicas), draw(_ready_counts), draw(replicas)),
        state=draw(states),
        current_forecast=draw(_optional_forecasts),
        demand=draw(_optional_demands),
        events=tuple(draw(st.lists(events(suppressing=suppressing), max_size=2))),
        lead_time=timedelta(seconds=draw(st.integers(0, 1200))),
        margin=timedelta(seconds=draw(st.integers(0, 600))),
        metrics_max_age=timedelta(minutes=5),
        per_replica=draw(_capacities),
    )


@cache
def situations(*, suppressing: bool = False, overridden: bool = False) -> st.SearchStrategy[Situation]:
    """Any combination of inputs at noon."""
    return _situations(suppressing=suppressing, overridden=overridden)
