"""The bars and the result file of the demo."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from predictive_scaling.stack.demo.measure import DemoComparison, ForecastQuality, Performance
from predictive_scaling.stack.demo.result import LearnedMatch, Result
from predictive_scaling.stack.demo.same_hours import SimulatedHpa


def a_result(
    *, hpa_only: float = 26, predictive: float = 2, hours: float = 1.05, decisions: int = 40, failed: int = 0
) -> Result:
    comparison = DemoComparison(Performance(hpa_only, 50.0, 200_000.0), Performance(predictive, 50.0 * hours, 10_000.0))
    same_hours = SimulatedHpa(0.735, 17.25, 1.0812)
    quality = ForecastQuality(0.12345, 0.91)
    kick_off = datetime(2026, 5, 2, 15, tzinfo=UTC)
    learned = (LearnedMatch("Amber v Jade", kick_off, 3.2, 2.4, 4.1, 41),)
    return Result("generated-sports-site", 510, comparison, same_hours, decisions, failed, quality, learned)


def test_a_good_result_has_no_shortcomings() -> None:
    assert a_result().shortcomings() == []


@pytest.mark.parametrize(
    ("result", "fragment"),
    [
        (a_result(hpa_only=9.9, predictive=0), "HPA alone was short for 9.9 minutes only"),
        (a_result(predictive=5.3), "more than a fifth"),
        (a_result(hours=1.081), "more than 1.08"),
        (a_result(decisions=0), "made no decision"),
        (a_result(failed=1), "1 of 40 decisions failed"),
        (replace(a_result(), learned=()), "no effect of earlier matches"),
    ],
)
def test_each_missed_bar_is_a_single_shortcoming(result: Result, fragment: str) -> None:
    (shortcoming,) = result.shortcomings()
    assert fragment in shortcoming


def test_results_equal_to_the_bars_are_sufficient() -> None:
    assert a_result(hpa_only=10, predictive=2, hours=1.08).shortcomings() == []


def test_the_file_has_its_documented_fields(tmp_path: Path) -> None:
    a_result().write(tmp_path / "demo" / "result.json")
    written = json.loads((tmp_path / "demo" / "result.json").read_text())
    assert written == {
        "trace": "generated-sports-site",
        "minutes": 510,
        "hpa_only": {"under_provisioned_minutes": 26, "replica_hours": 50.0},
        "predictive": {"under_provisioned_minutes": 2, "replica_hours": 52.5},
        "simulated_hpa_at_same_hours": {"target": 0.735, "under_provisioned_minutes": 17.25, "hours_ratio": 1.081},
        "decisions": 40,
        "failed_decisions": 0,
        "forecast": {"wape_15m": 0.123, "coverage_p90": 0.91},
        "learned": [
            {
                "match": "Amber v Jade",
                "kick_off": "2026-05-02T15:00:00+00:00",
                "multiplier": 3.2,
                "low": 2.4,
                "high": 4.1,
                "samples": 41,
            }
        ],
    }


def test_a_missing_forecast_quality_is_null_and_not_zero() -> None:
    unjudged = replace(a_result(), forecast=ForecastQuality(None, None))
    assert unjudged.as_json()["forecast"] == {"wape_15m": None, "coverage_p90": None}
