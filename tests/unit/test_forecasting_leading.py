"""Leading indicators: their lags are found, they are used only where they help, and they correct forecasts."""

from datetime import timedelta

import numpy as np
import pytest

from forecasting.error_measures import coverage, wape
from forecasting.forecast import QUANTILES, Forecast
from forecasting.leading import Correction, Indicator, PastForecasts, Use, study_indicators
from forecasting.leading.indicator import anomalies
from forecasting.leading.study import corrected
from forecasting.series import FloatArray, Series
from tests.support.leading import DAY, START, STEP, Followed, followed, past_forecasts

MAX_LAG = 8
HELD_OUT = 2 * DAY
"""Bins after the studied days."""


def verdict(past: PastForecasts, values: FloatArray) -> tuple[Use, timedelta | None, str]:
    (finding,) = study_indicators(past, [Indicator("upstream", values, MAX_LAG)]).findings
    return finding.use, finding.ahead, finding.evidence


@pytest.fixture(scope="module")
def scene() -> Followed:
    return followed(days=10)


@pytest.fixture(scope="module")
def past(scene: Followed) -> PastForecasts:
    return past_forecasts(scene.demand[:-HELD_OUT])


@pytest.fixture(scope="module")
def correction(scene: Followed, past: PastForecasts) -> Correction:
    found = study_indicators(past, [Indicator("upstream", scene.upstream[:-HELD_OUT], MAX_LAG)]).correction
    assert found is not None
    return found


@pytest.mark.parametrize("lag", [2, 3, 4])
def test_the_lag_is_found(lag: int) -> None:
    scene = followed(lag=lag, seed=lag)
    use, ahead, evidence = verdict(past_forecasts(scene.demand), scene.upstream)
    assert use is Use.USED
    assert ahead is not None
    assert abs(ahead - lag * STEP) <= STEP
    assert evidence.startswith("improves the forecasts on the last 2 days (cost 0.")


def test_what_brings_nothing_is_not_used(scene: Followed, past: PastForecasts) -> None:
    demand = scene.demand[:-HELD_OUT]
    noise = np.exp(np.random.default_rng(7).normal(size=len(demand)))
    late = np.concatenate([demand[:2], demand[:-2]])
    for values in (scene.unrelated[:-HELD_OUT], noise, late, np.full(len(demand), 7.0), np.full(len(demand), np.nan)):
        assert verdict(past, values)[0] is Use.NO_GAIN


def test_a_copy_of_the_demand_is_recognized(scene: Followed, past: PastForecasts) -> None:
    use, _, evidence = verdict(past, 2.5 * scene.demand[:-HELD_OUT])
    assert (use, evidence) == (Use.COPY, "is a copy of the demand itself, and knows nothing ahead of it")


def test_few_days_are_not_judged(scene: Followed) -> None:
    past = past_forecasts(scene.demand[: 4 * DAY], days=1)
    assert verdict(past, scene.upstream[: 4 * DAY])[0] is Use.TOO_SHORT


def test_of_two_indicators_the_helpful_one_is_used(scene: Followed, past: PastForecasts) -> None:
    series = {"other": scene.unrelated[:-HELD_OUT], "upstream": scene.upstream[:-HELD_OUT]}
    study = study_indicators(past, [Indicator(name, values, MAX_LAG) for name, values in series.items()])
    assert [finding.use for finding in study.findings] == [Use.NO_GAIN, Use.USED]
    assert study.correction is not None
    assert [lead.name for lead in study.correction.leads] == ["upstream"]


def test_later_forecasts_are_better_and_calibrated(scene: Followed, correction: Correction) -> None:
    later = past_forecasts(scene.demand, days=2, stride=1)
    with_it = corrected(later, correction, [Indicator("upstream", scene.upstream, MAX_LAG)])
    medians = [forecasts.values[:, 2, QUANTILES.index(0.5)] for forecasts in (with_it, later)]
    errors = [wape(later.actual[:, 2], median) for median in medians]
    assert errors[0] < 0.75 * errors[1]
    assert 0.84 < coverage(with_it.actual, with_it.values[:, :, QUANTILES.index(0.9)]) < 0.96
    assert (np.diff(with_it.values, axis=2) >= 0).all()
    # No peak is below a bin of its window.
    assert (with_it.peaks >= np.maximum.accumulate(with_it.values[:, :, 1:], axis=1) - 1e-9).all()


def forecast_of(past: PastForecasts) -> tuple[Forecast, Series]:
    """The last of the forecasts, and the series from whose end it was made."""
    end = int(past.origins[-1])
    series = Series("orders", START, STEP, past.series.values[:end])
    values, peaks = past.values[-1], past.peaks[-1]
    return Forecast("orders", series.end, STEP, QUANTILES, values, "LastValue", "", ("the level (+3%)",), peaks), series


def test_a_corrected_forecast_names_the_indicator(scene: Followed, past: PastForecasts, correction: Correction) -> None:
    forecast, series = forecast_of(past)
    bins = len(series.values)
    upstream = scene.upstream[:bins].copy()
    upstream[-3:] *= 2
    raised = correction.apply(forecast, series, [Indicator("upstream", upstream, MAX_LAG)])
    assert raised is not None
    assert raised.at(0.5)[2] > 1.2 * forecast.at(0.5)[2]
    first, second = raised.contributions
    assert first.startswith("upstream ")
    assert "minutes before (+" in first
    assert second == "the level (+3%)"


def test_a_gap_leaves_the_forecast_to_the_caller(scene: Followed, past: PastForecasts, correction: Correction) -> None:
    forecast, series = forecast_of(past)
    upstream = scene.upstream[: len(series.values)].copy()
    upstream[-4:] = np.nan
    assert correction.apply(forecast, series, [Indicator("upstream", upstream, MAX_LAG)]) is None


@pytest.mark.parametrize("garbage", [0.0, 1e24])
def test_garbage_moves_a_forecast_within_bounds(
    scene: Followed, past: PastForecasts, correction: Correction, garbage: float
) -> None:
    forecast, series = forecast_of(past)
    upstream = scene.upstream[: len(series.values)].copy()
    upstream[-3:] = garbage
    moved = correction.apply(forecast, series, [Indicator("upstream", upstream, MAX_LAG)])
    assert moved is not None
    assert np.isfinite(moved.values).all()
    assert moved.at(0.5).max() <= 4.5 * forecast.at(0.5).max()


def test_anomalies_are_relative_to_the_same_time_on_earlier_days() -> None:
    season = np.tile(np.arange(1.0, DAY + 1), 3)
    season[-1] *= 2
    unusual = anomalies(season, STEP, 1e-9)
    assert np.isnan(unusual[:DAY]).all()
    assert unusual[DAY:-1] == pytest.approx(0.0, abs=1e-6)
    assert unusual[-1] == pytest.approx(np.log(2), abs=1e-6)
    newest = anomalies(season, STEP, 1e-9, newest=5)
    assert np.isnan(newest[:-5]).all()
    np.testing.assert_array_equal(newest[-5:], unusual[-5:])
