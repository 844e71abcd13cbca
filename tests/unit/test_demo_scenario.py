"""The day that the demo replays."""

import gzip
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.stack.demo.scenario import DemoScenario, make_scenario
from predictive_scaling.stack.demo.workload import (
    DEMAND_FILE,
    MATCHES_FILE,
    Workload,
    generated_workload,
    recorded_workload,
)
from tests.support.demo_replays import simulated


@pytest.fixture(scope="module")
def scenario() -> DemoScenario:
    return make_scenario(generated_workload())


def test_the_default_day_is_replayed_from_14_00_to_20_45(scenario: DemoScenario) -> None:
    assert (scenario.begins_at, scenario.ends_at) == (
        datetime(2026, 5, 21, 14, 0, tzinfo=UTC),
        datetime(2026, 5, 21, 20, 45, tzinfo=UTC),
    )
    assert scenario.minutes == 405
    assert [match.name for match in scenario.matches] == ["Scarlet v Indigo", "Azure v Violet"]


def test_the_default_day_is_the_last_with_two_matches() -> None:
    workload = generated_workload()
    days = Counter(match.start.date() for match in workload.matches)
    assert max(day for day, matches in days.items() if matches >= 2) == workload.default_day


def test_generated_demand_is_the_same_in_every_run() -> None:
    first = generated_workload()
    generated_workload.cache_clear()
    second = generated_workload()
    np.testing.assert_array_equal(first.demand.values, second.demand.values)
    assert first.matches == second.matches


def test_only_matches_that_have_ended_are_past_events(scenario: DemoScenario) -> None:
    workload = generated_workload()
    after = [match for match in workload.matches if match.start.date() > scenario.day]
    assert len(scenario.earlier) == len(workload.matches) - len(scenario.matches) - len(after) >= 50
    assert max(match.end for match in scenario.earlier) < scenario.begins_at


def test_twenty_replicas_at_70_percent_carry_999_of_1000_minutes_of_the_season(scenario: DemoScenario) -> None:
    matches = generated_workload().matches
    first, last = (
        int((datetime.combine(match.start, time(), UTC) - scenario.demand.start) / timedelta(minutes=1))
        for match in (matches[0], matches[-1])
    )
    season = scenario.demand.values[first : last + 24 * 60]
    carried = season[np.isfinite(season)] <= 20 * 0.7 * scenario.per_replica
    assert carried.mean() == pytest.approx(0.999, abs=1e-4)


def test_a_day_without_a_match_is_refused_with_the_nearest_match_days() -> None:
    with pytest.raises(InvalidManifestError, match=r"2026-05-22.*2026-05-20.*2026-05-21"):
        make_scenario(generated_workload(), date(2026, 5, 22))


def test_recorded_demand_and_matches_are_read_from_a_folder(tmp_path: Path) -> None:
    generated = generated_workload()
    _write_folder(tmp_path, generated)
    recorded = recorded_workload(tmp_path)
    assert recorded.matches == generated.matches
    assert (recorded.demand.start, recorded.demand.step) == (generated.demand.start, generated.demand.step)
    np.testing.assert_array_equal(recorded.demand.values, generated.demand.values)
    day = generated.default_day
    recorded_scenario, generated_scenario = make_scenario(recorded, day), make_scenario(generated, day)
    assert (recorded_scenario.begins_at, recorded_scenario.ends_at, recorded_scenario.per_replica) == (
        generated_scenario.begins_at,
        generated_scenario.ends_at,
        generated_scenario.per_replica,
    )
    assert not recorded_scenario.has_verdict


def test_a_minute_that_was_not_recorded_has_the_demand_of_the_minute_before(tmp_path: Path) -> None:
    generated = generated_workload()
    values = generated.demand.values.copy()
    values[100] = np.nan
    _write_folder(tmp_path, replace(generated, demand=replace(generated.demand, values=values)))
    recorded = recorded_workload(tmp_path)
    assert np.flatnonzero(np.isnan(recorded.demand.values)).tolist() == [100]
    scenario = make_scenario(recorded, generated.default_day)
    assert scenario.demand_at(generated.demand.start + timedelta(minutes=100)) == values[99]


def test_the_missing_file_of_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestError, match=r"worldcup98-requests-per-minute\.csv\.gz is missing"):
        recorded_workload(tmp_path)
    _write_folder(tmp_path, generated_workload())
    (tmp_path / MATCHES_FILE).unlink()
    with pytest.raises(InvalidManifestError, match=r"worldcup98-matches\.csv is missing"):
        recorded_workload(tmp_path)


def test_samples_are_those_of_the_minutes_that_start_in_the_span(scenario: DemoScenario) -> None:
    samples = scenario.samples(scenario.begins_at, scenario.begins_at + timedelta(minutes=2))
    assert [at for at, _ in samples] == [scenario.begins_at, scenario.begins_at + timedelta(minutes=1)]
    assert [value for _, value in samples] == list(scenario.replayed()[:2])


def test_the_simulated_hpa_alone_is_short_for_34_minutes_and_a_multiplier_of_3_leaves_2(
    scenario: DemoScenario,
) -> None:
    hpa_only, predictive = simulated(scenario, None), simulated(scenario, 3.0)
    assert (hpa_only.short_steps / 4, predictive.short_steps / 4) == (34.0, 2.0)
    assert predictive.replica_steps / hpa_only.replica_steps == pytest.approx(1.08, abs=0.01)


def _write_folder(folder: Path, workload: Workload) -> None:
    demand = workload.demand
    rows = [
        f"{(demand.start + minute * demand.step).isoformat()},{value:.10g}\n"
        for minute, value in enumerate(demand.values)
        if np.isfinite(value)
    ]
    (folder / DEMAND_FILE).write_bytes(gzip.compress("".join(["timestamp,value\n", *rows]).encode(), 1))
    matches = [
        f"{match.name},{match.type},{match.start.isoformat()},{match.end.isoformat()}\n" for match in workload.matches
    ]
    (folder / MATCHES_FILE).write_text("".join(["name,type,start,end\n", *matches]))
