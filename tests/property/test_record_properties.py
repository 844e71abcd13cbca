"""Statuses and decisions of extreme inputs are always valid: the API server refuses none of them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from forecasting.series import Outlier
from predictive_scaling.control.actuation.decision_forms import Intent, manifest_of_intent, row_of_intent
from predictive_scaling.decision.conditions import ReconcileResult, VerificationState, policy_conditions
from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import (
    CurrentForecast,
    DecisionState,
    Demand,
    ForecastSource,
    Observed,
    Situation,
)
from predictive_scaling.decision.review import Problem
from predictive_scaling.decision.status import policy_status
from predictive_scaling.resources.annotations import DIRECTION, PAUSED, PIN, RESUME, UNTIL, read_annotations, resume_of
from predictive_scaling.resources.conditions import Condition, format_time, merge
from predictive_scaling.resources.part import writable
from predictive_scaling.resources.scaling_decision import ScalingDecisionSpec
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import (
    AccuracyStatus,
    Advice,
    BusinessEventStatus,
    LastDecision,
    Learned,
    ObservedMultiplier,
    ScalingPolicyStatus,
    Takeover,
    parse_event_status,
    parse_policy_status,
)
from predictive_scaling.resources.vocabulary import ConditionStatus, DecisionPhase
from tests.support.builders import NOON, a_forecast, a_policy
from tests.support.control import a_record
from tests.support.schemas import violations

EDGES = [0.0, 5e-324, 1e-300, 1e12, 1e30, 1.7e308, 2.0**63 - 1, float("nan"), float("inf"), -1.0]
MAX_ANNOTATION_BYTES = 256 * 1024
numbers = st.one_of(st.floats(), st.sampled_from(EDGES))
counts = st.one_of(st.integers(0, 60), st.sampled_from([0, 100_000, 100_001, 2**31 - 1]))
texts = st.one_of(
    st.text(st.characters(), max_size=80),
    st.text(st.characters(categories=["Cc", "Cs", "Co", "Nd"]), max_size=80),
    st.text(st.characters(), min_size=1, max_size=4).map(
        lambda text: (text * MAX_ANNOTATION_BYTES)[:MAX_ANNOTATION_BYTES]
    ),
)
short_texts = st.one_of(texts, st.sampled_from(["", "0", "12", "100000", "100001", "-1", "1e9", "true", "UpOnly"]))
extreme_times = st.sampled_from(
    ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999999Z"]
)
times = st.one_of(extreme_times, st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat), short_texts)
names = st.sampled_from(["x", "a" * 63])
long_names = st.sampled_from(["x", "a" * 253, "ä" * 253])
durations = st.sampled_from(
    [timedelta(0), timedelta(minutes=3), timedelta(seconds=1.9996), timedelta(days=9999), -timedelta(seconds=1)]
)


# Constructed once: Hypothesis validates a new strategy at its first draw, which takes longer than the draw.
maximums = st.sampled_from([1, 40, 100_000])
modes = st.sampled_from(["Auto", "Recommend", "Off"])
name_lengths = st.sampled_from([1, 253])
utilizations = st.sampled_from([1, 100])
quantiles = st.sampled_from(["0.5", "0.999"])
annotation_names = st.sets(st.sampled_from(sorted([PAUSED, PIN, DIRECTION, UNTIL, RESUME])))
medians = st.lists(numbers, min_size=1, max_size=40)
highest_factors = st.sampled_from([1.0, 1e10])
sources = st.sampled_from(ForecastSource)
optional_counts = st.one_of(st.none(), counts)
optional_numbers = st.one_of(st.none(), numbers)
optional_texts = st.one_of(st.none(), texts)
optional_demands = st.one_of(st.none(), numbers.map(lambda value: Demand(value, NOON)))
optional_outliers = st.one_of(st.none(), numbers.map(lambda value: Outlier(NOON, value)))


@st.composite
def annotations(draw: st.DrawFn) -> dict[str, str]:
    values = {
        PAUSED: draw(short_texts),
        PIN: draw(short_texts),
        DIRECTION: draw(short_texts),
        UNTIL: draw(times),
        RESUME: draw(short_texts),
    }
    return {name: values[name] for name in draw(annotation_names)}


any_annotations = annotations()


@st.composite
def policies(draw: st.DrawFn) -> ScalingPolicy:
    policy = a_policy(
        max=draw(maximums),
        mode=draw(modes),
        target={"horizontalPodAutoscaler": {"name": "a" * draw(name_lengths)}},
        demand={"service": draw(long_names), "metric": draw(long_names), "zeroIsValid": draw(st.booleans())},
        forecast={"utilization": draw(utilizations), "quantile": draw(quantiles)},
    )
    changed = {"name": draw(names), "annotations": draw(any_annotations)}
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update=changed)})


any_policies = policies()


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Situations with extreme demand, forecasts, replicas and annotations."""
    spread = {0.1: 0.0, 0.5: 1.0, 0.8: 1.0, 0.9: draw(highest_factors), 0.95: 1e10}
    forecast = a_forecast(*draw(medians), spread=spread)
    current_forecast = CurrentForecast(forecast, NOON + timedelta(hours=1), draw(sources))
    return Situation(
        now=NOON,
        policy=draw(any_policies),
        observed=Observed(
            uid="3f6d9a1c-0000-4000-8000-000000000002",
            minimum=draw(counts),
            maximum=draw(optional_counts),
            current_replicas=draw(counts),
            ready_replicas=draw(counts),
            target_utilization=draw(optional_numbers),
            utilization=draw(optional_numbers),
            scaled_to_zero=draw(st.booleans()),
            owner=draw(optional_texts),
            floor_managers=(draw(texts),),
        ),
        state=DecisionState(since=NOON - timedelta(days=1), floor=draw(optional_counts), reference_forecast=forecast),
        current_forecast=current_forecast if draw(st.booleans()) else None,
        demand=draw(optional_demands),
        events=(),
        lead_time=draw(durations),
        margin=timedelta(minutes=5),
        metrics_max_age=timedelta(minutes=5),
        per_replica=draw(optional_numbers),
        conflict=draw(optional_texts),
        outlier=draw(optional_outliers),
    )


@st.composite
def reconcile_results(draw: st.DrawFn) -> ReconcileResult:
    """Results whose reasons and messages contain any text of the cluster."""
    problems = st.one_of(st.none(), st.builds(Problem, short_texts, texts))
    return ReconcileResult(
        generation=draw(st.sampled_from([0, 1, 2**63 - 1])),
        stalled=draw(problems),
        failure=draw(problems),
        verification=draw(st.sampled_from(VerificationState)),
        verification_reason=draw(st.one_of(st.none(), short_texts)),
        verification_message=draw(texts),
        conflict_reason=draw(short_texts),
    )


def assert_accepted(kind: str, body: dict[str, Any], part: str, model: type[BaseModel]) -> None:
    """Assert that the schema of the CRD allows the body, and that JSON preserves it under strict validation."""
    text = json.dumps(body[part], ensure_ascii=False, allow_nan=False).encode()
    assert violations(kind, body) == []
    model.model_validate_json(text, strict=True)


def status_of(
    situation: Situation, result: ReconcileResult, before: tuple[Condition, ...] = (), **more: Any
) -> ScalingPolicyStatus:
    decision = decide(situation)
    conditions = merge(before, policy_conditions(result, situation, decision), NOON)
    return policy_status(situation, decision, conditions, **more)


@settings(max_examples=300)
@given(situations(), reconcile_results())
def test_the_status_of_any_situation_is_valid(situation: Situation, result: ReconcileResult) -> None:
    status = status_of(situation, result)
    spec = {"target": {}, "demand": {"metric": "m"}, "replicas": {"max": 1}}
    assert_accepted("ScalingPolicy", {"spec": spec, "status": status.to_manifest()}, "status", ScalingPolicyStatus)
    assert parse_policy_status(status.to_manifest()) == status, "an unchanged status is not written again"


@settings(max_examples=200)
@given(situations(), st.lists(texts, max_size=3))
def test_the_decision_of_any_situation_is_valid(situation: Situation, contributions: list[str]) -> None:
    decision, policy = decide(situation), situation.policy
    current_forecast = situation.current_forecast
    if current_forecast is not None:
        long_contributions = (
            "demand of the last hour (+" + "9" * 400 + " %)",
            *(f"{contribution}x" for contribution in contributions),
        )
        forecast = current_forecast.forecast
        extreme_forecast = type(forecast)(
            forecast.name,
            forecast.origin,
            forecast.step,
            forecast.quantiles,
            forecast.values,
            "m" * 300,
            "v" * 300,
            long_contributions,
        )
        current_forecast = CurrentForecast(extreme_forecast, current_forecast.valid_until, current_forecast.source)
    intent = Intent(a_record(policy), policy, situation.observed, decision, current_forecast, "")
    manifest = manifest_of_intent(intent, NOON)
    assert_accepted("ScalingDecision", manifest, "spec", ScalingDecisionSpec)
    row = row_of_intent(intent, DecisionPhase.PENDING, NOON)
    assert writable(row.message) == row.message
    assert max(row.from_replicas, row.to_replicas, row.uncapped_replicas) < 2**31


@given(numbers, numbers, numbers, durations, texts, counts)
def test_all_other_fields_of_a_status_are_valid(
    number: float, other: float, third: float, duration: timedelta, text: str, count: int
) -> None:
    situation = Situation(
        NOON, a_policy(), Observed("", 1, None, 1, 1, None, None, False, None, ()), DecisionState(NOON), None, None, (),
        duration, duration, duration, None,
    )  # fmt: skip
    status = status_of(
        situation,
        ReconcileResult(1),
        tuple(Condition(type=f"Other{index}", status=ConditionStatus.TRUE, reason="Why") for index in range(20)),
        last_decision=LastDecision(name=text, at=NOON, summary=text),
        accuracy=AccuracyStatus(wape=number, mape=other, coverage=third, window=duration),
        takeover=Takeover(target_uid=text, original_minimum=count, since=NOON + duration / 3, resume=text),
        advice=Advice(quantile=number, replica_hours_saved=other, message=text),
    )
    spec = {"target": {}, "demand": {"metric": "m"}, "replicas": {"max": 1}}
    assert_accepted("ScalingPolicy", {"spec": spec, "status": status.to_manifest()}, "status", ScalingPolicyStatus)
    assert parse_policy_status(status.to_manifest()) == status, "an unchanged status is not written again"


@given(*[numbers.filter(lambda number: number == number)] * 3, st.datetimes(timezones=st.just(UTC)))
def test_learned_effects_in_a_status_are_valid(multiplier: float, low: float, high: float, start: datetime) -> None:
    learned = Learned(multiplier=multiplier, low=low, high=high, samples=3)
    observed = ObservedMultiplier(policy="checkout", multiplier=high, until=start)
    status = BusinessEventStatus(next_start=start, learned=learned, observed=(observed,))
    spec = {"policies": {"all": True}}
    assert_accepted("BusinessEvent", {"spec": spec, "status": status.to_manifest()}, "status", BusinessEventStatus)
    assert parse_event_status(status.to_manifest()) == status, "an unchanged status is not written again"


@given(annotations())
def test_any_annotations_are_read_without_raising_and_with_short_errors(values: dict[str, str]) -> None:
    override = read_annotations(values)
    assert all(len(error) < 400 and writable(error) == error for error in override.errors)
    if override.until is not None:
        override.at(NOON)
        assert len(format_time(override.until)) == len("2026-11-27T08:00:00Z")


@given(situations())
def test_a_pin_applies_in_any_situation(situation: Situation) -> None:
    policy = situation.policy
    pinned = policy.metadata.model_copy(update={"annotations": {PIN: "7"}})
    spec = policy.spec.model_copy(update={"mode": "Auto", "suspend": False})
    observed = Observed("uid", 3, 50, 3, 3, None, None, False, None, ())
    changed = policy.model_copy(update={"metadata": pinned, "spec": spec})
    decision = decide(
        Situation(
            now=situation.now,
            policy=changed,
            observed=observed,
            state=situation.state,
            current_forecast=situation.current_forecast,
            demand=situation.demand,
            events=(),
            lead_time=timedelta(minutes=3),
            margin=situation.margin,
            metrics_max_age=situation.metrics_max_age,
            per_replica=situation.per_replica,
        )
    )
    assert decision.floor == min(7, spec.replicas.max)


@pytest.mark.parametrize("until", ["9999-12-31T23:59:59-12:00", "9999-12-31T00:00:00+00:00"])
def test_a_pause_until_the_end_of_the_calendar_is_active(until: str) -> None:
    policy = a_policy(annotations={PAUSED: "true", UNTIL: until})
    assert read_annotations(policy.metadata.annotations).at(NOON).paused


@given(short_texts, short_texts)
def test_resume_values_of_any_length_are_distinguished(first: str, second: str) -> None:
    stored = [resume_of({RESUME: value}) for value in (first, second)]
    assert (stored[0] == stored[1]) == (first == second)
    assert all(value is not None and len(value) <= 253 for value in stored)
