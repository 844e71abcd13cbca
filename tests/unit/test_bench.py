"""Comparison of the measurements of `make bench` with their bars."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.bench.gains import gains
from tests.bench.generated import NAMES
from tests.bench.markdown import section, with_sections
from tests.bench.results import scaling_verdicts
from tests.bench.scaling import POLICY_WAYS, WAYS, SameHours, ScalingResult
from tests.bench.scaling_tables import GAINS, scaling_sections
from tests.bench.traces import DEVELOPMENT, STREAM, development, read_traces
from tests.bench.verdicts import (
    WAPE_WITH_STREAM,
    WAPE_WITHOUT_STREAM,
    at_least,
    at_most,
    wape_bars,
    within_points,
)


@pytest.mark.parametrize(
    ("measured", "text"),
    [(0.2, "met"), (0.264, "met"), (0.2644, "met"), (0.2646, "missed by 0.001"), (0.3, "missed by 0.036")],
)
def test_an_error_meets_its_bar_when_it_is_not_higher_after_rounding(measured: float, text: str) -> None:
    assert at_most("WAPE", measured, 0.264).text == text


@pytest.mark.parametrize(
    ("measured", "text"),
    [(3.0, "met"), (2.96, "met"), (2.9, "missed by 0.1"), (math.inf, "met"), (1.2, "missed by 1.8")],
)
def test_a_gain_meets_its_bar_when_it_is_not_lower_after_rounding(measured: float, text: str) -> None:
    assert at_least("fewer", measured, 3.0, 1).text == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.9, "met"), (0.88, "met"), (0.92, "met"), (0.875, "missed by 0.5"), (0.931, "missed by 1.1")],
)
def test_coverage_may_deviate_by_some_points_in_both_directions(share: float, text: str) -> None:
    assert within_points("coverage", share, 0.9, 2, 1).text == text


def test_a_missing_measurement_is_neither_met_nor_missed() -> None:
    unmeasured = at_most("WAPE", math.nan, 0.264)
    assert (unmeasured.text, unmeasured.measured) == ("not measured", "–")


def test_a_mean_is_compared_with_the_bar_of_its_own_series() -> None:
    assert wape_bars(DEVELOPMENT, STREAM, DEVELOPMENT) == WAPE_WITHOUT_STREAM
    assert wape_bars(DEVELOPMENT | {STREAM}, STREAM, DEVELOPMENT) == WAPE_WITH_STREAM
    assert wape_bars({"aws-elb-requests-per-5min"}, STREAM, DEVELOPMENT) is None


def test_the_distance_to_a_goal_beyond_the_bar_is_reported() -> None:
    assert at_most("WAPE", 0.244, 0.248, goal=0.235).towards == "≤ 0.235: 0.009 to go"
    assert at_least("fewer", 5.2, 3.7, 1, goal=5.0).towards == "≥ 5.0: reached"
    assert at_most("WAPE", 0.244, 0.248).towards == ""


def a_scaled(policy_minutes: float, hpa_only_minutes: float, same_hours_minutes: float) -> ScalingResult:
    """A scaling result with these short minutes."""
    return ScalingResult(
        short=dict.fromkeys(WAYS, 0.0) | {"hpa_only": 0.2, "tuned": 0.1, "tuned_with_target": 0.1},
        minutes=dict.fromkeys(WAYS, policy_minutes) | {"hpa_only": hpa_only_minutes},
        hours=dict.fromkeys(WAYS, 1.1),
        same_hours={way: SameHours(0.6, 0.1, same_hours_minutes, 1.1) for way in POLICY_WAYS},
        alone_hours=100.0,
        chosen=dict.fromkeys(WAYS, "p90 at 70%"),
        frontier=[],
        model="LightGBM",
    )


def test_gains_over_the_hpa_at_the_same_hours_are_a_sum_and_a_median() -> None:
    # A series with a large gain must not hide two series on which a lower target utilization is as good.
    result = gains([a_scaled(100, 1000, 500), a_scaled(10, 40, 10), a_scaled(20, 60, 16)], "tuned")
    assert (result.minutes, result.hpa_alone_minutes, result.same_hours_minutes) == (130, 1100, 526)
    assert result.in_sum == pytest.approx(526 / 130)
    assert result.median == 1.0


@pytest.mark.parametrize(
    ("policy", "same_hours", "gain"), [(10, 30, 3.0), (30, 15, 0.5), (0, 0, 1.0), (0, 5, math.inf), (5, 0, 0.0)]
)
def test_the_gain_is_the_ratio_of_short_minutes(policy: float, same_hours: float, gain: float) -> None:
    assert a_scaled(policy, 50, same_hours).gain("tuned") == gain


def test_each_row_of_gains_has_the_minutes_of_the_hpa_at_the_same_hours() -> None:
    scaling = {name: a_scaled(100, 1000, 512) for name in [*sorted(DEVELOPMENT), "another"]}
    text = scaling_sections(scaling)[GAINS]
    rows = [line.split(" | ") for line in text.splitlines() if not line.startswith("| median")][2:]
    assert len(rows) == 3 * 3 + 7 * 3
    assert {row[6] for row in rows} == {"512", "3,072", "3,584"}
    assert text.count("median of 6 development series") == text.count("median of all 7 series") == 3


def test_a_policy_that_is_worse_than_a_lower_target_misses_its_bar() -> None:
    better, worse = a_scaled(100, 1000, 250), a_scaled(100, 1000, 50)
    for result, text in ((better, "met"), (worse, "missed by 0.50")):
        verdicts = list(scaling_verdicts(dict.fromkeys(DEVELOPMENT, result), sorted(DEVELOPMENT)))
        at_same_hours = [line.text for line in verdicts if "at the same replica-hours" in line.what]
        assert at_same_hours == [text] * 4


def test_a_section_is_replaced_and_the_others_are_kept() -> None:
    text = "intro\n\n### One\n\nold\nold\n\n### Two: a\n\nkept\n"
    assert with_sections(text, {"One": "new"}) == "intro\n\n### One\n\nnew\n\n### Two: a\n\nkept\n"
    assert with_sections(text, {"Two: a": "new"}) == "intro\n\n### One\n\nold\nold\n\n### Two: a\n\nnew\n"
    with pytest.raises(KeyError):
        with_sections(text, {"Two": "new"})


def test_a_section_of_the_second_level_ends_at_the_next_section() -> None:
    text = "# T\n\n## A\n\n### One\n\nold\n\n## B\n\n### One\n\nkept\n"
    assert section(text, "A", level=2) == "\n### One\n\nold\n\n"
    assert with_sections(text, {"A": "new"}, level=2) == "# T\n\n## A\n\nnew\n\n## B\n\n### One\n\nkept\n"
    assert with_sections(text, {"B": "new"}, level=2).endswith("## B\n\nnew\n")


def test_generated_series_are_the_default_and_need_no_folder() -> None:
    measured = read_traces(None, quick=True, say=lambda _: None)
    assert list(measured.series) == list(measured.traces) == list(NAMES)
    assert development(measured.series) == [name for name in NAMES if name != "generated-rides"]
    assert measured.left_out == {}
    steps = {name: series.step / timedelta(minutes=1) for name, series in measured.series.items()}
    assert steps.pop("generated-rides") == 30
    assert set(steps.values()) == {5}
    assert all(np.nanmin(series.values) >= 0 for series in measured.series.values())
    (with_events,) = measured.events
    assert with_events == "generated-sports-site"
    assert len(measured.events[with_events]) >= 15


def test_generated_series_differ_in_kind() -> None:
    series = read_traces(None, quick=True, say=lambda _: None).series

    def repeats(name: str, bins: int) -> float:
        """The correlation with the series a number of bins earlier."""
        values = series[f"generated-{name}"].values
        known = np.isfinite(values[bins:]) & np.isfinite(values[:-bins])
        return float(np.corrcoef(values[bins:][known], values[:-bins][known])[0, 1])

    assert repeats("web-shop", 288) > 0.7
    assert abs(repeats("webhooks", 288)) < 0.1
    assert repeats("batch-jobs", 288) > 0.9 > 0.3 > repeats("batch-jobs", 12)
    assert repeats("rides", 7 * 48) > 0.8
    assert 0.2 < repeats("sports-site", 288) < 0.7
    assert repeats("mentions", 288) < 0.4
    mentions = series["generated-mentions"].values
    assert mentions.max() > 15 * np.median(mentions)


def test_the_series_of_a_folder_are_measured_instead_and_the_development_series_first(tmp_path: Path) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    rows = [f"{(start + number * timedelta(minutes=30)).isoformat()},{10 + number}\n" for number in range(144)]
    for name in ("another", "aws-ec2-cpu-5min"):
        (tmp_path / f"{name}.csv").write_text("".join(["timestamp,value\n", *rows]))
    (tmp_path / "short.csv").write_text("timestamp,value\n2026-05-01T00:00:00Z,1\n")
    (tmp_path / "worldcup98-matches.csv").write_text("name,type,start,end\n")
    measured = read_traces(tmp_path, quick=False, say=lambda _: None)
    assert list(measured.series) == ["aws-ec2-cpu-5min", "another"]
    assert development(measured.series) == ["aws-ec2-cpu-5min"]
    assert set(measured.left_out) == {"short.csv", STREAM} | (DEVELOPMENT - {"aws-ec2-cpu-5min"})
    assert measured.events == {}
    assert list(read_traces(tmp_path, quick=True, say=lambda _: None).series) == ["aws-ec2-cpu-5min"]
