from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.stack.demo.scenario import DEFAULT_DAY, DemoScenario, make_scenario
from tests.support.demo_replays import TRACES, simulated


@pytest.fixture(scope="module")
def scenario() -> DemoScenario:
    return make_scenario(DEFAULT_DAY, TRACES)


def test_the_third_of_july_is_replayed_from_13_00_to_21_30(scenario: DemoScenario) -> None:
    assert (scenario.begins_at, scenario.ends_at) == (
        datetime(1998, 7, 3, 13, 0, tzinfo=UTC),
        datetime(1998, 7, 3, 21, 30, tzinfo=UTC),
    )
    assert scenario.minutes == 510
    assert [match.name for match in scenario.matches] == ["Italy v France", "Brazil v Denmark"]


def test_only_matches_that_are_over_are_in_the_past(scenario: DemoScenario) -> None:
    assert len(scenario.earlier) == 56
    assert max(match.end for match in scenario.earlier) < scenario.begins_at


def test_twenty_replicas_at_70_percent_carry_the_busiest_thousandth_of_the_tournament(scenario: DemoScenario) -> None:
    first = int((datetime(1998, 6, 10, tzinfo=UTC) - scenario.demand.start) / timedelta(minutes=1))
    tournament = scenario.demand.values[first : first + 33 * 24 * 60]
    carried = tournament[np.isfinite(tournament)] <= 20 * 0.7 * scenario.per_replica
    assert carried.mean() == pytest.approx(0.999, abs=1e-4)


def test_a_day_without_a_match_is_refused_and_days_near_it_are_named() -> None:
    with pytest.raises(InvalidManifestError, match=r"1998-07-02.*1998-06-30.*1998-07-03"):
        make_scenario(date(1998, 7, 2), TRACES)


def test_a_folder_without_traces_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifestError, match=r"worldcup98-requests-per-minute\.csv\.gz is not there"):
        make_scenario(DEFAULT_DAY, tmp_path)


def test_samples_are_those_of_the_minutes_that_begin_in_the_span(scenario: DemoScenario) -> None:
    samples = scenario.samples(scenario.begins_at, scenario.begins_at + timedelta(minutes=2))
    assert [at for at, _ in samples] == [scenario.begins_at, scenario.begins_at + timedelta(minutes=1)]
    assert [value for _, value in samples] == list(scenario.replayed()[:2])


def test_in_arithmetic_the_hpa_alone_is_short_for_25_minutes_and_a_multiplier_of_3_leaves_2(
    scenario: DemoScenario,
) -> None:
    hpa_only, predictive = simulated(scenario, None), simulated(scenario, 3.0)
    assert (hpa_only.short_steps / 4, predictive.short_steps / 4) == (25.0, 2.0)
    assert predictive.replica_steps / hpa_only.replica_steps == pytest.approx(1.08, abs=0.01)
