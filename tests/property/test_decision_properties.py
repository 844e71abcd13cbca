"""Properties of a decision in any situation (semantics 1 to 26)."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from forecasting.forecast import Forecast
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import (
    CurrentForecast,
    Decision,
    DecisionState,
    Demand,
    EventBaseline,
    FloorChange,
    Situation,
)
from predictive_scaling.decision.limits import effective_maximum, effective_minimum
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from tests.support.builders import LONG_AGO, NOON, a_policy, a_situation, observed
from tests.support.situations import (
    bad_numbers,
    current_forecasts,
    demands,
    events,
    policies,
    replicas,
    situations,
    steps,
)


def applied(situation: Situation, decision: Decision) -> Situation:
    """The situation at the same time with the decision applied."""
    target = replace(situation.observed, minimum=decision.floor)
    return replace(situation, observed=target, state=decision.state)


@given(situations(suppressing=True, overridden=True))
def test_the_floor_never_leaves_its_bounds(situation: Situation) -> None:
    floor = decide(situation).floor
    assert effective_minimum(situation) <= floor <= effective_maximum(situation)
    assert floor <= situation.policy.spec.replicas.max
    assert situation.observed.maximum is None or floor <= situation.observed.maximum


@given(situations(), events())
def test_one_more_event_never_lowers_the_floor(situation: Situation, event: EventBaseline) -> None:
    assert decide(replace(situation, events=(*situation.events, event))).floor >= decide(situation).floor


@given(situations())
def test_events_never_lower_the_recommendation(situation: Situation) -> None:
    assert decide(situation).uncapped >= decide(replace(situation, events=())).uncapped


@given(situations(), st.one_of(st.none(), bad_numbers.map(lambda value: Demand(value, NOON))))
def test_the_floor_is_never_lowered_without_data(situation: Situation, demand: Demand | None) -> None:
    decision = decide(replace(situation, demand=demand))
    assert decision.floor >= min(decision.before, effective_maximum(situation))


@given(situations())
def test_the_floor_is_never_lowered_by_an_expired_forecast(situation: Situation) -> None:
    expired = (
        CurrentForecast(situation.current_forecast.forecast, NOON, situation.current_forecast.source)
        if situation.current_forecast
        else None
    )
    decision = decide(replace(situation, current_forecast=expired))
    assert decision.floor >= min(decision.before, effective_maximum(situation))


@given(situations(suppressing=True, overridden=True))
def test_a_second_decision_at_the_same_time_changes_nothing(situation: Situation) -> None:
    decision = decide(situation)
    second = decide(applied(situation, decision))
    assert (second.floor, second.changes) == (decision.floor, False)


@given(situations(suppressing=True, overridden=True))
def test_the_same_situation_gives_the_same_decision(situation: Situation) -> None:
    assert decide(situation) == decide(situation)


@given(situations(suppressing=True, overridden=True))
def test_a_cut_is_always_named(situation: Situation) -> None:
    decision = decide(situation)
    assert decision.floor == decision.uncapped or decision.limits
    assert len(set(decision.limits)) == len(decision.limits)
    assert all(limit in decision.message for limit in decision.limits)


@given(situations(suppressing=True, overridden=True))
def test_only_a_change_has_a_reason(situation: Situation) -> None:
    decision = decide(situation)
    assert (decision.reason is not None) == decision.changes


@given(situations(), st.sampled_from([2.0**-8, 0.5, 4.0, 2.0**20]))
def test_the_unit_of_demand_does_not_matter(situation: Situation, factor: float) -> None:
    """Powers of two: scaling by them is exact, so that rounding does not change."""
    scaled = replace(
        situation,
        current_forecast=situation.current_forecast
        and replace(situation.current_forecast, forecast=times(situation.current_forecast.forecast, factor)),
        demand=situation.demand and replace(situation.demand, value=situation.demand.value * factor),
        per_replica=situation.per_replica and situation.per_replica * factor,
        events=tuple(
            replace(event, baseline_forecast=event.baseline_forecast and times(event.baseline_forecast, factor))
            for event in situation.events
        ),
        state=replace(
            situation.state,
            reference_forecast=situation.state.reference_forecast and times(situation.state.reference_forecast, factor),
        ),
    )
    assert decide(scaled).floor == decide(situation).floor


def times(forecast: Forecast, factor: float) -> Forecast:
    return replace(forecast, values=forecast.values * factor)


@given(current_forecasts, st.integers(500, 999), st.integers(500, 999))
def test_a_higher_quantile_never_lowers_the_recommendation(
    current_forecast: CurrentForecast, permille: int, other: int
) -> None:
    low, high = sorted((permille, other))
    recommendations = [
        decide(
            a_situation(a_policy(forecast={"quantile": f"0.{quantile}"}), current_forecast=current_forecast)
        ).uncapped
        for quantile in (low, high)
    ]
    assert recommendations[0] <= recommendations[1]


@given(situations(), current_forecasts, st.floats(1, 10))
def test_a_higher_forecast_never_lowers_the_recommendation(
    situation: Situation, current_forecast: CurrentForecast, factor: float
) -> None:
    higher = replace(current_forecast, forecast=times(current_forecast.forecast, factor))
    lower = decide(replace(situation, current_forecast=current_forecast)).uncapped
    assert decide(replace(situation, current_forecast=higher)).uncapped >= lower


@given(policies(), st.lists(st.tuples(demands, st.integers(1, 90)), max_size=12))
def test_the_raises_of_any_period_stay_within_the_step(policy: ScalingPolicy, ticks: list[tuple[float, int]]) -> None:
    scale = policy.spec.scale_up
    start, changes = policy.spec.replicas.min, run(policy, ticks)
    for last in range(len(changes)):
        end = changes[last].at
        within = [change for change in changes[: last + 1] if end - change.at < scale.period]
        raised = sum(max(0, change.after - change.before) for change in within)
        assert raised <= scale.max_step.of(within[0].before), (start, within)


@given(policies(), st.lists(st.tuples(demands, st.integers(1, 90)), max_size=12))
@example(
    a_policy(scaleUp={"maxStep": "60"}, scaleDown={"maxStep": "2", "stabilizationWindow": "0s"}, max=60),
    [(3000.0, 30), (100.0, 30), (100.0, 15), (100.0, 50)],
)
def test_the_decreases_of_any_period_stay_within_the_step(
    policy: ScalingPolicy, ticks: list[tuple[float, int]]
) -> None:
    scale = policy.spec.scale_down
    changes = run(policy, ticks)
    for last in range(len(changes)):
        within = [change for change in changes[: last + 1] if changes[last].at - change.at < scale.period]
        lowered = sum(max(0, change.before - change.after) for change in within)
        assert lowered <= scale.max_step.of(within[0].before), within


def run(policy: ScalingPolicy, ticks: list[tuple[float, int]]) -> list[FloorChange]:
    """The changes of the floor over a sequence of demands with fresh data; it starts within bounds."""
    floor, now = policy.spec.replicas.min, NOON
    state, changes = DecisionState(since=LONG_AGO, floor=floor), list[FloorChange]()
    for demand, seconds in ticks:
        now += timedelta(seconds=seconds)
        decision = decide(a_situation(policy, floor=floor, now=now, forecast=demand, demand=demand, state=state))
        if decision.changes:
            changes.append(FloorChange(now, decision.before, decision.floor))
        floor, state = decision.floor, decision.state
    return changes


@given(policies(), st.lists(st.tuples(demands, st.integers(1, 90)), max_size=12))
def test_the_floor_is_never_lowered_below_the_recommendations_of_the_window(
    policy: ScalingPolicy, ticks: list[tuple[float, int]]
) -> None:
    floor, now = policy.spec.replicas.min, NOON
    state, recommended = DecisionState(since=LONG_AGO, floor=floor), list[tuple[float, int]]()
    window, elapsed = policy.spec.scale_down.stabilization_window.total_seconds(), 0.0
    for demand, seconds in ticks:
        now, elapsed = now + timedelta(seconds=seconds), elapsed + seconds
        decision = decide(a_situation(policy, floor=floor, now=now, forecast=demand, demand=demand, state=state))
        recommended.append((elapsed, decision.uncapped))
        highest = max(count for at, count in recommended if elapsed - at < window or at == elapsed)
        assert decision.floor >= min(decision.before, highest, policy.spec.replicas.max)
        floor, state = decision.floor, decision.state


@given(replicas, steps, demands)
def test_a_decrease_keeps_enough_for_the_current_load(floor: int, step: str, demand: float) -> None:
    policy = a_policy(min=0, max=60, scaleDown={"maxStep": step, "stabilizationWindow": "0s"})
    decision = decide(a_situation(policy, floor=floor, forecast=1.0, demand=demand, observed=observed(floor)))
    if decision.floor < decision.before and decision.before <= 50:
        assert decision.floor * 100 >= demand * (1 - 1e-6)


@given(situations(suppressing=True, overridden=True), st.booleans())
def test_a_frozen_policy_changes_nothing(situation: Situation, conflict: bool) -> None:
    frozen = (
        replace(situation, conflict="argocd-controller writes minReplicas")
        if conflict
        else replace(situation, observed=replace(situation.observed, scaled_to_zero=True))
    )
    decision = decide(frozen)
    assert not decision.changes
    assert decision.state.floor == situation.state.floor
    assert decision.uncapped == decision.before or decision.limits
