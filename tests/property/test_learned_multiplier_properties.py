"""The correction of a learned multiplier by the demand since the start of its event."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forecasting.events import LearnedEffect
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Demand, EventBaseline, Recommendation, Source
from tests.support.builders import NOON, a_forecast, a_policy, a_situation, an_event, an_occurrence

MINUTE = timedelta(minutes=1)
DURATION = 120
"""Minutes from the start of the event to its end."""
RAMP_DOWN = 40
"""Minutes."""
USUAL = 400.0
SPREAD = {0.1: 0.7, 0.8: 1.1, 0.9: 1.3, 0.95: 1.5}


def an_effect(multiplier: float, below: float, above: float) -> LearnedEffect:
    return LearnedEffect(multiplier, multiplier / below, multiplier * above, samples=3)


effects = st.builds(an_effect, st.floats(0.2, 8.0), st.floats(1.01, 3.0), st.floats(1.01, 3.0))
plausible_demands = st.floats(0.3 * USUAL, 6.0 * USUAL)
demands = st.one_of(plausible_demands, st.floats(0.01, 1e9))
elapsed = st.integers(-10, DURATION + RAMP_DOWN - 1)
"""Minutes since the start."""


def an_event_baseline(
    learned: LearnedEffect | None, scale: float = 1.0, expect: dict[str, str] | None = None
) -> EventBaseline:
    event = an_event(
        end=NOON + DURATION * MINUTE, type="sale", rampUp="10m", rampDown=f"{RAMP_DOWN}m", expect=expect or {}
    )
    forecast = a_forecast(*[USUAL * scale] * 60, origin=NOON - 30 * MINUTE, spread=SPREAD)
    return replace(an_occurrence(event, forecast), learned=learned)


def recommended(baseline: EventBaseline, minute: int, demand: float | None, scale: float = 1.0) -> Recommendation:
    """The recommendation of the event at a minute since its start."""
    per_replica = {"perReplica": str(100.0 * scale)}
    situation = a_situation(
        a_policy(max=10_000, demand=per_replica),
        now=NOON + minute * MINUTE,
        events=(baseline,),
        demand=demand,
        forecast=USUAL * scale,
        per_replica=100.0 * scale,
    )
    return next(given for given in decide(situation).recommendations if given.source is Source.EVENT)


@given(effects, elapsed, demands)
def test_a_corrected_multiplier_stays_within_the_learned_range(
    learned: LearnedEffect, minute: int, demand: float
) -> None:
    value = recommended(an_event_baseline(learned), minute, demand).demand
    low, high = (
        recommended(an_event_baseline(replace(learned, multiplier=bound)), minute, None).demand
        for bound in (learned.low, learned.high)
    )
    assert value is not None
    assert low is not None
    assert high is not None
    assert low * (1 - 1e-9) <= value <= high * (1 + 1e-9)


@given(effects, elapsed, demands, demands)
def test_more_demand_never_lowers_the_recommendation(
    learned: LearnedEffect, minute: int, first: float, second: float
) -> None:
    lower, higher = sorted((first, second))
    baseline = an_event_baseline(learned)
    assert recommended(baseline, minute, lower).replicas <= recommended(baseline, minute, higher).replicas


@given(effects, st.integers(20, DURATION + RAMP_DOWN - 1))
def test_the_learned_demand_corrects_nothing(learned: LearnedEffect, minute: int) -> None:
    baseline = an_event_baseline(learned)
    share = min(1.0, (DURATION + RAMP_DOWN - (minute - 1)) / RAMP_DOWN)
    as_learned = recommended(baseline, minute, USUAL * (1.0 + (learned.multiplier - 1.0) * share)).demand
    without = recommended(baseline, minute, None).demand
    assert as_learned is not None
    assert without is not None
    assert abs(as_learned / without - 1) < 1e-9


@given(effects, elapsed, st.floats(0.2, 8.0), demands)
def test_a_declared_multiplier_never_changes(
    learned: LearnedEffect, minute: int, declared: float, demand: float
) -> None:
    baseline = an_event_baseline(learned, expect={"multiplier": f"{declared:.3f}"})
    assert recommended(baseline, minute, demand) == recommended(baseline, minute, None)


@given(effects, elapsed, demands)
def test_missing_and_stale_demand_corrects_nothing(learned: LearnedEffect, minute: int, demand: float) -> None:
    baseline, now = an_event_baseline(learned), NOON + minute * MINUTE
    missing = recommended(baseline, minute, None)
    assert "corrected" not in missing.why
    situation = a_situation(a_policy(max=10_000), now=now, events=(baseline,), forecast=USUAL)
    stale = replace(situation, demand=Demand(demand, now - situation.metrics_max_age - MINUTE))
    assert missing in decide(stale).recommendations


@given(effects, elapsed, demands, st.integers(-6, 6))
def test_the_unit_of_demand_changes_no_floor(learned: LearnedEffect, minute: int, demand: float, exponent: int) -> None:
    scale = 2.0**exponent
    here = recommended(an_event_baseline(learned), minute, demand)
    scaled = recommended(an_event_baseline(learned, scale), minute, demand * scale, scale)
    assert here.demand is not None
    assert scaled.demand is not None
    assert abs(scaled.demand / (here.demand * scale) - 1) < 1e-9
    assert abs(scaled.replicas - here.replicas) <= (abs(here.replicas - here.demand / 100) < 1e-6)


@settings(max_examples=30, deadline=None)
@given(effects, st.lists(plausible_demands, min_size=12, max_size=12), st.integers(3, 11), plausible_demands)
def test_later_samples_change_no_earlier_recommendation(
    learned: LearnedEffect, samples: list[float], changed: int, other: float
) -> None:
    assume(other != samples[changed])
    baseline = an_event_baseline(learned)
    altered = [*samples[:changed], other, *samples[changed + 1 :]]

    def course(values: list[float]) -> list[Recommendation]:
        return [recommended(baseline, 10 * index, value) for index, value in enumerate(values)]

    assert course(samples)[:changed] == course(altered)[:changed]
