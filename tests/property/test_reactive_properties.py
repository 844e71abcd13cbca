"""Properties of reactive scaling, which a workload without an HPA has from the operator."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.decision.decide import decide
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.decision.limits import effective_maximum
from predictive_scaling.decision.reactive import TOLERANCE, floor_to_restore, reactive_replicas
from tests.support.builders import NOON, a_policy, a_situation, observed

demands = st.just(0.0) | st.floats(1e-3, 1e6)
capacities = st.floats(0.5, 5000)
targets = st.integers(1, 100).map(lambda percent: percent / 100)
counts = st.integers(0, 2000)
WORKLOAD = {"workload": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"}}
FAST = {"maxStep": "100", "period": "1s"}


def a_workload(replicas: int, ready: int | None = None) -> Observed:
    scaled = replace(observed(replicas, None), is_scaled_directly=True)
    return scaled if ready is None else replace(scaled, ready_replicas=ready)


@given(demands, capacities, targets, counts, counts)
def test_replicas_carry_the_demand_within_the_tolerance(
    demand: float, per_replica: float, target: float, current: int, ready: int
) -> None:
    replicas = reactive_replicas(demand, per_replica, target, current, ready)
    assert demand <= replicas * per_replica * target * (1 + TOLERANCE) * (1 + 1e-6)


@given(demands, demands, capacities, targets, counts, counts)
def test_more_demand_never_needs_fewer_replicas(
    demand: float, other: float, per_replica: float, target: float, current: int, ready: int
) -> None:
    low, high = sorted((demand, other))
    assert reactive_replicas(low, per_replica, target, current, ready) <= reactive_replicas(
        high, per_replica, target, current, ready
    )


@given(demands, capacities, targets, counts)
def test_constant_demand_changes_the_replicas_at_most_once(
    demand: float, per_replica: float, target: float, current: int
) -> None:
    first = reactive_replicas(demand, per_replica, target, current, current)
    assert reactive_replicas(demand, per_replica, target, first, first) == first


@given(demands, capacities, targets, st.integers(1, 2000), counts)
def test_replicas_that_start_are_not_started_twice(
    demand: float, per_replica: float, target: float, current: int, ready: int
) -> None:
    """While replicas start, no more are requested than when all are ready."""
    all_ready = reactive_replicas(demand, per_replica, target, current, current)
    assert reactive_replicas(demand, per_replica, target, current, ready) <= max(current, all_ready)


@given(st.integers(1, 40), st.floats(1, 4000), st.floats(1, 4000))
def test_the_reactive_part_only_adds_to_the_floor(floor: int, forecast: float, demand: float) -> None:
    on_an_hpa = a_situation(a_policy(scaleUp=FAST), floor=floor, forecast=forecast, demand=demand)
    policy = a_policy(scaleUp=FAST, target=WORKLOAD)
    directly = replace(on_an_hpa, policy=policy, observed=a_workload(floor))
    assert decide(directly).floor >= decide(on_an_hpa).floor


@given(st.integers(1, 40), st.integers(0, 40), st.floats(1, 4000))
def test_a_decision_never_leaves_fewer_replicas_than_demand_needs(floor: int, ready: int, demand: float) -> None:
    policy = a_policy(scaleUp=FAST, target=WORKLOAD, scaleDown={"maxStep": "100", "stabilizationWindow": "0s"})
    situation = a_situation(policy, floor=floor, forecast=1.0, demand=demand, observed=a_workload(floor, ready))
    replicas = decide(situation).floor
    assert replicas == effective_maximum(situation) or demand <= replicas * 70 * (1 + TOLERANCE) * (1 + 1e-6)


@given(st.integers(0, 40), st.integers(0, 40), st.one_of(st.none(), st.floats(1, 4000)))
def test_a_released_workload_keeps_the_replicas_that_demand_needs(
    original: int, current: int, demand: float | None
) -> None:
    last = a_situation(a_policy(target=WORKLOAD), demand=demand, observed=a_workload(current))
    replicas = floor_to_restore(original, last.observed, last, NOON)
    assert original <= replicas <= max(original, current)
    if demand is None:
        assert replicas == max(original, current)
    else:
        assert replicas >= current or demand <= replicas * 70 * (1 + 1e-6)
