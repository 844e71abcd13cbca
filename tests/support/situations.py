"""Hypothesis strategies for the inputs of a decision."""

from datetime import timedelta

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


@st.composite
def policies(draw: st.DrawFn, *, overridden: bool = False) -> ScalingPolicy:
    """Active policies. overridden: some have a pin or a direction."""
    low = draw(st.integers(0, 20))
    behavior = draw(st.sampled_from(["HoldFloor", "CurrentReplicasIfHigher"]))
    pins = replicas.map(lambda count: {PIN: str(count)})
    directions = st.sampled_from([{}, {DIRECTION: "UpOnly"}, {DIRECTION: "DownOnly"}])
    return a_policy(
        min=low,
        max=draw(st.integers(max(1, low), 60)),
        mode=draw(st.sampled_from(["Auto", "Recommend"])),
        target=draw(st.sampled_from(TARGETS)),
        annotations=draw(st.one_of(directions, pins)) if overridden else None,
        demand={"zeroIsValid": draw(st.booleans())},
        forecast={"utilization": draw(st.integers(20, 100)), "quantile": draw(quantiles())},
        scaleUp={"maxStep": draw(steps), "period": draw(st.sampled_from(["1s", "1m", "10m"]))},
        scaleDown={
            "maxStep": draw(steps),
            "period": draw(st.sampled_from(["1s", "1m", "10m"])),
            "stabilizationWindow": draw(st.sampled_from(["0s", "1m", "10m"])),
        },
        deadBand={"replicas": draw(st.integers(0, 5)), "percent": draw(st.integers(0, 50))},
        fallback={"behavior": behavior},
    )


def quantiles() -> st.SearchStrategy[str]:
    """Quantiles as manifests write them."""
    return st.integers(500, 999).map(lambda permille: f"0.{permille}")


@st.composite
def current_forecasts(draw: st.DrawFn) -> CurrentForecast:
    """Forecasts from around now; some are expired, some have invalid values."""
    medians = draw(st.lists(st.one_of(demands, bad_numbers), min_size=1, max_size=4))
    spread = draw(st.sampled_from(SPREADS))
    origin = NOON - timedelta(seconds=draw(seconds))
    forecast = a_forecast(*medians, origin=origin, spread=spread)
    return CurrentForecast(
        forecast, NOON + timedelta(seconds=draw(st.integers(-600, 3600))), draw(st.sampled_from(ForecastSource))
    )


@st.composite
def events(draw: st.DrawFn, *, suppressing: bool = False, priority: int = 0) -> EventBaseline:
    """Occurrences around now. suppressing: some suppress the forecast."""
    start = NOON + timedelta(seconds=draw(st.integers(-3600, 3600)))
    multipliers = st.sampled_from(["0.1", "0.75", "1", "2.5", "20"]).map(lambda factor: {"multiplier": factor})
    expectation = st.one_of(st.just({}), multipliers, replicas.map(lambda count: {"minReplicas": count}))
    event = an_event(
        name=draw(st.sampled_from(["sale", "match"])),
        start=start,
        end=start + timedelta(seconds=draw(st.integers(1, 7200))),
        expect=draw(expectation),
        rampUp=draw(st.sampled_from(["0s", "90s", "15m"])),
        rampDown=draw(st.sampled_from(["0s", "90s", "15m"])),
        priority=priority,
        suppressForecast=suppressing and draw(st.booleans()),
    )
    bins = draw(st.lists(demands, min_size=1, max_size=4))
    baseline = a_forecast(*bins, origin=start - timedelta(hours=draw(st.integers(0, 2))))
    return an_occurrence(event, draw(st.sampled_from([baseline, None])))


@st.composite
def states(draw: st.DrawFn) -> DecisionState:
    """States of a policy, including an empty one, with changes of the last minutes."""
    recommendations = sorted(draw(st.lists(replicas, max_size=4, unique=True)), reverse=True)
    ages = draw(st.sampled_from([(900, 660, 600, 5), (599, 61, 60, 59), (30, 15, 10, 5)]))
    changes = draw(st.lists(st.tuples(replicas, replicas), max_size=2))
    return DecisionState(
        since=NOON - timedelta(seconds=draw(st.sampled_from([0, 30, 86400]))),
        floor=draw(st.one_of(st.none(), replicas)),
        recommendations=tuple(
            (NOON - timedelta(seconds=age), count) for age, count in zip(ages, recommendations, strict=False)
        ),
        changes=tuple(
            FloorChange(NOON - timedelta(seconds=age), *change) for age, change in zip(ages, changes, strict=False)
        ),
        no_forecast_since=draw(st.sampled_from([None, NOON - timedelta(minutes=5), NOON - timedelta(hours=2)])),
        reference_forecast=draw(st.one_of(st.none(), current_forecasts().map(lambda current: current.forecast))),
    )


@st.composite
def situations(draw: st.DrawFn, *, suppressing: bool = False, overridden: bool = False) -> Situation:
    """Any combination of inputs at noon."""
    demand = st.builds(Demand, st.one_of(demands, bad_numbers), seconds.map(lambda age: NOON - timedelta(seconds=age)))
    return Situation(
        now=NOON,
        policy=draw(policies(overridden=overridden)),
        observed=observed(draw(replicas), draw(st.one_of(st.none(), st.integers(1, 60))), draw(replicas)),
        state=draw(states()),
        current_forecast=draw(st.one_of(st.none(), current_forecasts())),
        demand=draw(st.one_of(st.none(), demand)),
        events=tuple(draw(st.lists(events(suppressing=suppressing), max_size=2))),
        lead_time=timedelta(seconds=draw(st.integers(0, 1200))),
        margin=timedelta(seconds=draw(st.integers(0, 600))),
        metrics_max_age=timedelta(minutes=5),
        per_replica=draw(st.one_of(st.none(), bad_numbers, st.floats(0.5, 500))),
    )
