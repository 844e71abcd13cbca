"""Durations and decimals in manifests."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictive_scaling.resources.quantities import format_decimal, format_duration, format_hms, parse_duration


@given(st.integers(min_value=0, max_value=10_000_000))
def test_a_duration_survives_a_round_trip(seconds: int) -> None:
    duration = timedelta(seconds=seconds)

    assert parse_duration(format_duration(duration)) == duration
    assert parse_duration(format_hms(duration)) == duration


@pytest.mark.parametrize("text", ["", "15", "m", "1m1h", "1.5h", "-5m", "10 minutes", "1h" * 100])
def test_an_invalid_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write it as 90s, 15m or 1h30m"):
        parse_duration(text)


def test_only_the_formats_outside_custom_resources_have_days() -> None:
    assert (format_hms(timedelta(days=7)), format_duration(timedelta(days=7))) == ("168h", "7d")


@given(st.floats(min_value=0, max_value=1e9))
def test_a_decimal_is_formatted_without_exponent_to_six_places(value: float) -> None:
    text = format_decimal(value)

    assert "e" not in text
    assert float(text) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is not finite"):
        format_decimal(value)
