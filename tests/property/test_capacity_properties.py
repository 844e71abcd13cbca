"""The capacity of a replica is recovered from noisy observations, with an interval, and not from too few."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecasting.scaling.capacity import MIN_OBSERVATIONS, CapacityEstimate, estimate_capacity

capacities = st.floats(0.01, 10_000)
seeds = st.integers(0, 2**32 - 1)


def observed(
    capacity: float, seed: int, *, count: int = 120, noise: float = 0.05, spread: float = 0.2, idle: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Utilizations around 0.6, and the demand of a replica that causes each, with noise."""
    random = np.random.default_rng(seed)
    utilization = random.uniform(0.6 - spread, 0.6 + spread, count)
    return utilization, capacity * (utilization - idle) * random.lognormal(0, noise, count)


def estimate(*observations: np.ndarray) -> CapacityEstimate:
    result = estimate_capacity(*observations)
    assert result is not None
    return result


@given(capacities, seeds, st.floats(0.001, 0.1))
def test_capacity_is_recovered_from_noisy_observations(capacity: float, seed: int, noise: float) -> None:
    result = estimate(*observed(capacity, seed, noise=noise))
    assert abs(result.value / capacity - 1) < 0.1
    assert result.is_trustworthy
    assert result.low <= result.value <= result.high


@given(capacities, seeds)
def test_outliers_do_not_count(capacity: float, seed: int) -> None:
    utilization, demand = observed(capacity, seed)
    demand[::10] *= 20
    demand[5::10] /= 20
    result = estimate(utilization, demand)
    assert abs(result.value / capacity - 1) < 0.05
    assert result.samples <= 100


@given(capacities, seeds, st.floats(0.1, 0.25))
def test_load_without_demand_does_not_count_as_capacity(capacity: float, seed: int, idle: float) -> None:
    result = estimate(*observed(capacity, seed, noise=0.01, idle=idle))
    assert abs(result.value / (capacity * (1 - idle)) - 1) < 0.05


@given(capacities, seeds, st.floats(0.001, 1000))
def test_the_estimate_scales_with_the_unit_of_demand(capacity: float, seed: int, unit: float) -> None:
    utilization, demand = observed(capacity, seed)
    one, other = estimate(utilization, demand), estimate(utilization, demand * unit)
    assert np.allclose(other[:3], np.array(one[:3]) * unit, rtol=1e-6)
    assert other.samples == one.samples


@given(capacities, seeds, st.integers(1, MIN_OBSERVATIONS - 1))
def test_few_observations_give_no_estimate(capacity: float, seed: int, count: int) -> None:
    assert estimate_capacity(*observed(capacity, seed, count=count)) is None


@given(seeds)
def test_observations_that_contradict_each_other_are_not_trusted(seed: int) -> None:
    random = np.random.default_rng(seed)
    drifting = np.repeat([10.0, 200.0, 20.0, 150.0, 15.0], 20) * random.lognormal(0, 0.3, 100)
    result = estimate_capacity(np.full(100, 0.6), drifting)
    assert result is None or not result.is_trustworthy


@given(capacities, seeds)
def test_the_interval_covers_the_capacity_in_most_cases(capacity: float, seed: int) -> None:
    covered = [
        result.low <= capacity <= result.high
        for part in range(40)
        if (result := estimate(*observed(capacity, (seed + part) % 2**32, spread=0.02)))
    ]
    assert sum(covered) >= 30


def test_identical_observations_have_no_outlier() -> None:
    result = estimate(np.full(20, 0.5), np.full(20, 50.0))
    assert (result.value, result.samples) == (100.0, 20)
