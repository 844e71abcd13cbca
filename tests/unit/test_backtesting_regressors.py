"""Leading indicators in backtests: read from CSV files, used without look-ahead, and reported."""

import gzip
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from forecasting.forecaster import ModelChoice
from forecasting.series import FloatArray, Series
from predictive_scaling.backtesting.leading import IndicatorEffect, with_indicators
from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.reporting.document import document
from predictive_scaling.backtesting.reporting.page import page
from predictive_scaling.backtesting.reporting.summary import indicators_summary
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts, plan_of
from predictive_scaling.backtesting.run import Options, run
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.backtesting.traces.regressors import RecordedRegressor, read_regressors
from predictive_scaling.backtesting.walk_forward import walk_forward
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.regressor import Regressor
from tests.support.backtests import a_demand, silent
from tests.support.leading import DAY, START, STEP, followed

SCENE = followed(days=9)
ONE = Regressor(service="gateway", metric="requests_per_second")
NAME = "requests_per_second of gateway"


def recorded(values: FloatArray) -> RecordedRegressor:
    return RecordedRegressor(ONE, Series(NAME, START, STEP, values))


@cache
def plain() -> RollingForecasts:
    series = Series("orders", START, STEP, SCENE.demand)
    plan = plan_of(series, 0.7, 1, range(1, 13), 12)
    return walk_forward(series, plan, ModelChoice.SEASONAL_NAIVE, report=silent)


def corrected_by(values: FloatArray) -> tuple[RollingForecasts, IndicatorEffect]:
    forecasts, effect = with_indicators(plain(), [recorded(values)], silent)
    assert effect is not None
    return forecasts, effect


def test_an_indicator_makes_forecasts_better() -> None:
    forecasts, effect = corrected_by(SCENE.upstream)
    (use,) = effect.uses
    assert (use.name, use.used, use.days) == (NAME, use.days, 3)
    assert effect.cost < 0.9 * effect.cost_without
    assert effect.wape < effect.wape_without
    assert not np.array_equal(forecasts.values, plain().values)


def test_a_series_that_does_not_lead_changes_nothing() -> None:
    forecasts, effect = corrected_by(SCENE.unrelated)
    assert effect.uses[0].used == 0
    np.testing.assert_array_equal(forecasts.values, plain().values)
    np.testing.assert_array_equal(forecasts.peaks, plain().peaks)


@pytest.mark.parametrize("origin", [7 * DAY + 100])
def test_the_future_of_an_indicator_changes_no_forecast(origin: int) -> None:
    changed = SCENE.upstream.copy()
    changed[origin:] *= 5
    rows = slice(0, origin - plain().first + 1)
    (kept, _), (moved, _) = corrected_by(SCENE.upstream), corrected_by(changed)
    np.testing.assert_array_equal(kept.values[rows], moved.values[rows])
    np.testing.assert_array_equal(kept.peaks[rows], moved.peaks[rows])


def test_reports_say_what_indicators_brought_and_which_have_no_samples() -> None:
    policy = default_policy("orders")
    forecast = policy.spec.forecast.model_copy(update={"regressors": (ONE,)})
    policy = policy.model_copy(update={"spec": policy.spec.model_copy(update={"forecast": forecast})})
    options = Options(refits=1, model=ModelChoice.SEASONAL_NAIVE)
    without = run(Trace(a_demand(days=2)), policy, (), options, silent)
    assert (
        "forecasts are without requests_per_second of gateway, of which no samples are given" in without.trace.repairs
    )
    assert document(without)["regressors"] is None
    assert "Leading indicators" not in page(without)
    reported = replace(without, indicators=corrected_by(SCENE.upstream)[1])
    effect = document(reported)["regressors"]
    assert effect["cost"] < effect["cost_without"]
    assert (effect["series"][0]["name"], effect["series"][0]["days_in_use"]) == (NAME, 3)
    assert "Leading indicators: requests_per_second of gateway was in use on 3 of 3 days" in page(reported)
    assert "was in use on 3 of 3 days; at the end it improves the forecasts" in " ".join(indicators_summary(reported))


CSV = """time,service,metric,value
2026-06-01T00:00:00Z,gateway,requests_per_second,10
2026-06-01T00:01:00Z,gateway,requests_per_second,12
2026-06-01T00:00:00Z,queue,length,0
2026-06-01T00:01:00Z,queue,length,3
"""


def a_file(folder: Path, text: str) -> Path:
    path = folder / "regressors.csv"
    path.write_text(text)
    return path


def test_a_file_has_the_series_that_the_policy_names(tmp_path: Path) -> None:
    (read,) = read_regressors(a_file(tmp_path, CSV), [ONE])
    assert read.regressor == ONE
    assert (read.series.start, read.series.step, list(read.series.values)) == (START, timedelta(minutes=1), [10, 12])


def test_without_a_policy_all_series_of_a_file_are_read(tmp_path: Path) -> None:
    compressed = tmp_path / "regressors.csv.gz"
    compressed.write_bytes(gzip.compress(CSV.replace("2026-06-01T00:0", "178027200").replace(":00Z", "0").encode()))
    assert [one.regressor.service for one in read_regressors(compressed, [])] == ["gateway", "queue"]


@pytest.mark.parametrize(
    ("text", "named", "problem"),
    [
        (CSV.replace("gateway", "gatewy"), [ONE], "has no series requests_per_second of gateway; did you mean"),
        (CSV.replace("metric,", "name,"), [], "has no column 'metric'; expected time, service, metric and value"),
        (CSV.replace(",12", ",-12"), [], "row 2 below the header, column value: '-12' is not a number of at least 0"),
        (CSV.replace("00:01:00Z,q", "noon,q"), [], "row 4 below the header, column time: "),
        (CSV[: CSV.index("2026-06-01T00:01")], [ONE], "has one value of requests_per_second of gateway"),
        ("", [], "cannot be read as CSV"),
        (
            "time,service,metric,value\n" + "".join(f"{at},s{at},m,1\n" for at in range(6)),
            [],
            "has 6 series; name up to 5 of them",
        ),
    ],
)
def test_other_content_is_refused_with_its_place(
    tmp_path: Path, text: str, named: list[Regressor], problem: str
) -> None:
    with pytest.raises(InvalidTraceError, match=r"regressors\.csv") as refused:
        read_regressors(a_file(tmp_path, text), named)
    assert problem in str(refused.value)


def test_an_indicator_must_be_recorded_as_often_as_the_bins() -> None:
    hourly = replace(recorded(SCENE.upstream), series=Series(NAME, START, timedelta(hours=1), SCENE.upstream[:48]))
    with pytest.raises(InvalidTraceError, match="has one value every 60 min"):
        hourly.rebinned(STEP)
