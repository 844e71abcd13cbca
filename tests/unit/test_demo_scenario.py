"""The day that the demo replays."""

import gzip
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from predictive_scaling.errors import InvalidManifestError, InvalidTraceError
from predictive_scaling.stack.demo.scenario import DemoScenario, make_scenario
from predictive_scaling.stack.demo.workload import (
    Workload,
    generated_workload,
    recorded_workload,
)
from tests.support.demo_replays import simulated


@pytest.fixture(scope="module")
def scenario() -> DemoScenario:
    return make_scenario(generated_workload())


def test_the_default_day_is_replayed_from_10_00_to_17_15(scenario: DemoScenario) -> None:
    assert (scenario.begins_at, scenario.ends_at) == (
        datetime(2026, 5, 2, 10, 0, tzinfo=UTC),
        datetime(2026, 5, 2, 17, 15, tzinfo=UTC),
    )
    assert scenario.minutes == 435
    assert [match.name for match in scenario.matches] == ["Indigo v Crimson", "Teal v Violet"]


def test_the_default_day_is_the_one_with_two_quarter_finals() -> None:
    workload = generated_workload()
    quarter_finals = [match for match in workload.matches if date(2026, 4, 27) <= match.start.date() < date(2026, 5, 4)]
    days = Counter(match.start.date() for match in quarter_finals)
    assert [day for day, matches in days.items() if matches == 2] == [workload.default_day]


def test_generated_demand_is_the_same_in_every_run() -> None:
    first = generated_workload()
    generated_workload.cache_clear()
    second = generated_workload()
    np.testing.assert_array_equal(first.demand.values, second.demand.values)
    assert first.matches == second.matches


def test_only_matches_that_have_ended_are_past_events(scenario: DemoScenario) -> None:
    workload = generated_workload()
    after = [match for match in workload.matches if match.start.date() > scenario.day]
    assert len(scenario.earlier) == len(workload.matches) - len(scenario.matches) - len(after) >= 40
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
    with pytest.raises(InvalidManifestError, match=r"2026-05-06.*2026-05-04.*2026-05-05.*2026-05-07"):
        make_scenario(generated_workload(), date(2026, 5, 6))


def test_a_day_that_the_demand_does_not_cover_is_refused() -> None:
    workload = generated_workload()
    minute = round((datetime(2026, 5, 2, 13, 0, tzinfo=UTC) - workload.demand.start) / timedelta(minutes=1))
    ended = replace(workload.demand, values=workload.demand.values[:minute])
    started = replace(ended, start=datetime(2026, 5, 2, 11, 0, tzinfo=UTC))
    for demand in (ended, started):
        with pytest.raises(InvalidManifestError, match=r"does not cover the matches of 2026-05-02.*--day"):
            make_scenario(replace(workload, demand=demand))


def test_recorded_demand_and_matches_are_read_from_files(tmp_path: Path) -> None:
    generated = generated_workload()
    recorded = recorded_workload(*_files(tmp_path))
    assert recorded.matches == tuple(replace(match, ramp=timedelta()) for match in generated.matches)
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
    recorded = recorded_workload(*_files(tmp_path, replace(generated, demand=replace(generated.demand, values=values))))
    assert np.flatnonzero(np.isnan(recorded.demand.values)).tolist() == [100]
    scenario = make_scenario(recorded, generated.default_day)
    assert scenario.demand_at(generated.demand.start + timedelta(minutes=100)) == values[99]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("A v B,match,soon,1998-07-03T16:20:00Z", "line 2: Invalid isoformat"),
        ("A v B,match,1998-07-03T14:30:00,1998-07-03T16:20:00", "line 2: a match needs .* time zone"),
        ("A v B,,1998-07-03T14:30:00Z,1998-07-03T16:20:00Z", "line 2: a match needs a name, a type"),
        ("A v B,match,1998-07-03T16:20:00Z,1998-07-03T14:30:00Z", "line 2: .*start before its end"),
    ],
)
def test_a_bad_row_of_matches_is_refused_with_its_line(tmp_path: Path, row: str, problem: str) -> None:
    trace, events = _short_trace(tmp_path)
    events.write_text(f"name,type,start,end\n{row}\n")
    with pytest.raises(InvalidManifestError, match=problem):
        recorded_workload(trace, events)


def test_files_that_the_demo_cannot_replay_are_refused(tmp_path: Path) -> None:
    trace, events = _short_trace(tmp_path)
    hourly = tmp_path / "hourly.csv"
    hourly.write_text("timestamp,value\n1998-07-03T14:00:00Z,1\n1998-07-03T15:00:00Z,2\n1998-07-03T16:00:00Z,2\n")
    with pytest.raises(InvalidTraceError, match=r"hourly\.csv has one value every 1:00:00"):
        recorded_workload(hourly, events)
    events.write_text("name,type,start,end\n")
    with pytest.raises(InvalidManifestError, match="has no matches"):
        recorded_workload(trace, events)
    events.write_text("start,end\n")
    with pytest.raises(InvalidManifestError, match="expected name,type,start,end"):
        recorded_workload(trace, events)


def test_samples_are_those_of_the_minutes_that_start_in_the_span(scenario: DemoScenario) -> None:
    samples = scenario.samples(scenario.begins_at, scenario.begins_at + timedelta(minutes=2))
    assert [at for at, _ in samples] == [scenario.begins_at, scenario.begins_at + timedelta(minutes=1)]
    assert [value for _, value in samples] == list(scenario.replayed()[:2])


def test_the_simulated_hpa_alone_is_short_for_21_minutes(scenario: DemoScenario) -> None:
    assert simulated(scenario, None).short_steps / 4 == 21.0


def _files(folder: Path, workload: Workload | None = None) -> tuple[Path, Path]:
    """Write the demand and the matches of a workload, by default the generated one; return both paths."""
    trace, events = folder / "requests.csv.gz", folder / "matches.csv"
    trace.write_bytes(_generated_trace() if workload is None else _trace(workload))
    matches = [
        f"{match.name},{match.type},{match.start.isoformat()},{match.end.isoformat()}\n"
        for match in (workload or generated_workload()).matches
    ]
    events.write_text("".join(["name,type,start,end\n", *matches]))
    return trace, events


@cache
def _generated_trace() -> bytes:
    return _trace(generated_workload())


def _short_trace(folder: Path) -> tuple[Path, Path]:
    """The files of a workload with demand of three days, for tests of the file of matches."""
    workload = generated_workload()
    return _files(folder, replace(workload, demand=replace(workload.demand, values=workload.demand.values[:4320])))


def _trace(workload: Workload) -> bytes:
    demand = workload.demand
    rows = [
        f"{(demand.start + minute * demand.step).isoformat()},{value:.10g}\n"
        for minute, value in enumerate(demand.values.tolist())
        if math.isfinite(value)
    ]
    return gzip.compress("".join(["timestamp,value\n", *rows]).encode(), 1)
