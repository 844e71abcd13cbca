"""Short minutes, replica-hours and forecast quality of the demo."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.stack.demo.measure import (
    Band,
    DeploymentState,
    Observation,
    compare,
    forecast_quality,
    is_evaluated,
)

BEGIN = datetime(2026, 5, 21, 14, tzinfo=UTC)
PER_REPLICA = 100.0


def observation(minute: float, demand: float, hpa_only: int, predictive: int, existing: int = 5) -> Observation:
    at = BEGIN + timedelta(minutes=minute)
    return Observation(at, demand, DeploymentState(existing, hpa_only, 1), DeploymentState(existing, predictive, 3))


def test_an_observation_counts_until_the_next_observation() -> None:
    observations = [observation(0, 250, 2, 3), observation(1.5, 250, 3, 3), observation(4, 150, 1, 3)]
    comparison = compare(observations, BEGIN + timedelta(minutes=6), PER_REPLICA)
    assert comparison.hpa_only.under_provisioned_minutes == pytest.approx(3.5)
    assert comparison.predictive.under_provisioned_minutes == 0
    assert comparison.hpa_only.unserved == pytest.approx(50 * 1.5 + 50 * 2)


def test_replica_hours_count_every_existing_pod() -> None:
    comparison = compare([observation(0, 10, 0, 1, existing=6)], BEGIN + timedelta(minutes=30), PER_REPLICA)
    assert comparison.hpa_only.replica_hours == pytest.approx(3.0)
    assert comparison.hours_ratio == pytest.approx(1.0)


def test_replicas_that_serve_exactly_the_demand_are_not_short() -> None:
    comparison = compare([observation(0, 300, 3, 2)], BEGIN + timedelta(minutes=1), PER_REPLICA)
    assert comparison.hpa_only.under_provisioned_minutes == 0
    assert comparison.predictive.under_provisioned_minutes == pytest.approx(1.0)


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 10)), min_size=1, max_size=20))
def test_short_minutes_never_exceed_the_replay(samples: list[tuple[float, int]]) -> None:
    observations = [observation(minute, demand, ready, ready) for minute, (demand, ready) in enumerate(samples)]
    comparison = compare(observations, BEGIN + timedelta(minutes=len(samples)), PER_REPLICA)
    assert 0 <= comparison.hpa_only.under_provisioned_minutes <= len(samples) + 1e-9
    assert (comparison.hpa_only.unserved > 0) == (comparison.hpa_only.under_provisioned_minutes > 0)


def test_the_quality_has_the_error_of_the_median_and_the_coverage_of_p90() -> None:
    quality = forecast_quality([(Band(90, 120), 100.0), (Band(110, 130), 100.0), (Band(50, 80), 200.0)])
    assert quality.wape_15m == pytest.approx((10 + 10 + 150) / 400)
    assert quality.coverage_p90 == pytest.approx(2 / 3)


def test_unknown_demand_gives_no_quality() -> None:
    assert forecast_quality([(Band(90, 120), math.nan)]).wape_15m is None
    assert forecast_quality([]).coverage_p90 is None


@pytest.mark.parametrize(("minutes", "expected"), [(14, False), (15, True), (19, True), (20, False), (180, False)])
def test_only_forecasts_15_to_20_minutes_ahead_are_evaluated(minutes: int, expected: bool) -> None:
    assert is_evaluated(BEGIN, BEGIN + timedelta(minutes=minutes)) is expected
