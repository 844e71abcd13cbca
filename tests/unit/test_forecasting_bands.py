"""Calibration, the quality gate, cold start and interpolation of a model's quantiles."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.bands import cold_start_factor, widened
from forecasting.calibration import (
    WINDOW,
    calibrated,
    conformal_quantile_of_sorted,
    fit_calibration,
    log_errors,
    newest_errors,
)
from forecasting.forecast import QUANTILES, Forecast
from forecasting.forecaster import FittedModel
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch
from forecasting.quality.gate import judge, judge_scores, verdict_without_champion
from forecasting.quality.scores import Scores, scores
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, replay, walk_forward
from tests.support.demand_series import MONDAY, a_series, of_values

HORIZONS = np.array([1, 4, 12])
LONG_SERIES = a_series(days=20, noise=0.3)


def a_walk(days: float = 20) -> WalkForward:
    return replay(a_series(days=days, noise=0.3), LastValue(), 0, HORIZONS)


def a_forecast(*rows: tuple[float, ...]) -> Forecast:
    return Forecast("a", MONDAY, timedelta(minutes=5), QUANTILES, np.array(rows), "LastValue", "")


def test_calibrated_quantiles_have_the_nominal_coverage() -> None:
    walk = calibrated(a_walk()).since(400)
    for quantile in (0.1, 0.8, 0.9, 0.95):
        assert walk.coverage(quantile) == pytest.approx(quantile, abs=0.02)


def test_calibration_keeps_the_median() -> None:
    walk = a_walk()
    calibrated_walk = calibrated(walk)
    unchanged = np.isclose(calibrated_walk.at(0.5), walk.at(0.5), rtol=1e-6)
    assert unchanged.mean() > 0.99


@pytest.mark.parametrize("cut", [500, 1003])
def test_future_samples_change_no_calibrated_forecast(cut: int) -> None:
    values = LONG_SERIES.values.copy()
    values[cut:] *= 70
    walks = [
        calibrated(replay(series, LastValue(), 0, HORIZONS))
        for series in (LONG_SERIES, replace(LONG_SERIES, values=values))
    ]
    past = walks[0].origins <= cut
    assert np.array_equal(walks[0].quantiles[past], walks[1].quantiles[past])
    assert not np.array_equal(walks[0].quantiles[~past], walks[1].quantiles[~past])


def test_an_error_counts_only_after_its_target_time() -> None:
    walk = a_walk()
    origin = 200
    changed_actual = walk.actual.copy()
    # From `origin - 11` on, the targets of the forecasts 12 bins ahead end after `origin`.
    changed_actual[origin - 11 :, 2] = 1e6
    recalibrated = calibrated(replace(walk, actual=changed_actual), stride=1)
    assert np.array_equal(
        recalibrated.quantiles[: origin + 1, 2], calibrated(walk, stride=1).quantiles[: origin + 1, 2]
    )
    assert not np.array_equal(
        recalibrated.quantiles[: origin + 40, 2], calibrated(walk, stride=1).quantiles[: origin + 40, 2]
    )


def test_future_samples_do_not_change_the_verdict() -> None:
    cut = 1500
    values = LONG_SERIES.values.copy()
    values[cut:] = 0
    verdicts = []
    for series in (LONG_SERIES, replace(LONG_SERIES, values=values)):
        history = before(series, cut)
        champion, baseline = (
            calibrated(replay(history, model, 400, HORIZONS)) for model in (SeasonalNaive(), LastValue())
        )
        verdicts.append(judge(champion, [baseline]))
    assert verdicts[0] == verdicts[1]


def test_the_conformal_quantile_is_one_of_the_errors() -> None:
    residuals = np.arange(99.0)[None, :]
    assert conformal_quantile_of_sorted(residuals, np.array([99]), 0.9).tolist() == [89.0]
    assert conformal_quantile_of_sorted(residuals, np.array([5]), 0.9).tolist() == [0.0], "five errors are too few"


def test_the_newest_errors_are_kept_oldest_first() -> None:
    walk = a_walk()
    kept = newest_errors(walk)
    is_finite = np.isfinite(log_errors(walk)[:, 0, 0])
    assert kept.shape == (WINDOW, 3, len(QUANTILES))
    assert np.array_equal(kept[:, 0], log_errors(walk)[is_finite, 0][-WINDOW:])


def test_the_shift_is_interpolated_between_known_horizons() -> None:
    residuals = np.zeros((100, 2, len(QUANTILES)))
    residuals[:, 1] = 1.0
    calibration = fit_calibration(residuals, np.array([2, 12]))
    assert calibration.at(np.array([1, 2, 7, 12, 30]))[:, 3].tolist() == [0, 0, 0.5, 1, 1]


def a_champion(high: float, median: float = 1.0) -> WalkForward:
    """Forecasts whose upper quantile and median are `high` and `median` times the actual demand, with noise."""
    walk = a_walk(days=6)
    actual: FloatArray = walk.actual[:, :, None] * np.exp(np.random.default_rng(5).normal(0, 0.2, walk.quantiles.shape))
    factors = np.array([0.7, median, 1.15, high, high * 1.1])
    return replace(walk, name="Champion", quantiles=actual[:, :, :1] * factors)


def test_a_better_champion_acts() -> None:
    verdict = judge(a_champion(1.3), [calibrated(a_walk(days=6))])
    assert (verdict.passed, verdict.acting) == (True, "Champion")
    assert "Champion acts: it costs" in verdict.evidence
    assert "of LastValue" in verdict.evidence


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        (a_champion(1.02), "covers"),
        (a_champion(9.0), "covers 100.0%"),
        (a_champion(1.3, median=2.0), "has a larger error"),
        (a_champion(1.3).since(500), "was evaluated on"),
    ],
)
def test_a_champion_that_fails_the_gate_does_not_act_and_has_a_reason(champion: WalkForward, reason: str) -> None:
    verdict = judge(champion, [calibrated(a_walk(days=6))])
    assert (verdict.passed, verdict.acting) == (False, "LastValue")
    assert reason in verdict.evidence


@pytest.mark.parametrize("saving", [0.05, 0.15])
@pytest.mark.parametrize(("coverage", "is_tolerated"), [(0.74, False), (0.8, True), (0.97, True)])
def test_coverage_outside_the_usual_range_is_accepted_of_a_much_cheaper_model_only(
    coverage: float, saving: float, is_tolerated: bool
) -> None:
    best = scores(calibrated(a_walk(days=6)))
    own = replace(best.overall, model="Champion", cost=best.overall.cost * (1 - saving), coverage=coverage)
    by_horizon = tuple(replace(score, model="Champion", cost=score.cost * (1 - saving)) for score in best.by_horizon)
    verdict = judge_scores(Scores(own, best.horizons, by_horizon), [best])
    assert verdict.passed == (is_tolerated and saving > 0.1)
    assert f"{coverage:.1%}" in verdict.evidence


def test_under_forecasting_costs_more_than_over_forecasting() -> None:
    walk = a_walk(days=6)
    low, high = (replace(walk, quantiles=walk.actual[:, :, None] * np.full(5, factor)) for factor in (0.8, 1.2))
    assert scores(low).overall.cost == pytest.approx(9 * scores(high).overall.cost)


def test_without_a_champion_the_best_naive_model_acts() -> None:
    series = a_series(days=6, noise=0.02)
    walks = [calibrated(replay(series, model, 96, np.array([12]))) for model in (LastValue(), SeasonalNaive())]
    verdict = verdict_without_champion(walks, "too little history")
    assert verdict.acting == "SeasonalNaive"
    assert "too little history" in verdict.evidence


def test_the_cold_start_factor_falls_from_two_to_one_within_a_week() -> None:
    factors = [cold_start_factor(a_series(days=days)) for days in (0.01, 1, 2, 6.9, 7, 30)]
    assert factors == [2.0, pytest.approx(1.2), pytest.approx(1.1), pytest.approx(1.029, abs=0.001), 1.0, 1.0]
    assert cold_start_factor(of_values(np.nan, np.nan)) == 2.0


def test_cold_start_widens_only_the_upper_quantiles() -> None:
    assert widened(np.array([[1.0, 2, 3, 4, 5]]), np.array([1.5])).tolist() == [[1, 2, 4.5, 6, 7.5]]


def test_a_forecast_has_every_quantile_from_0_5_to_0_999() -> None:
    forecast = a_forecast((50, 100, 120, 140, 150), (0, 0, 0, 0, 0))
    assert forecast.at(0.9).tolist() == [140, 0]
    quantile_values = [forecast.at(q)[0] for q in (0.5, 0.6, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99, 0.999)]
    assert quantile_values == sorted(quantile_values)
    assert len(set(quantile_values)) == 10
    assert 150 < quantile_values[-1] < 400
    assert forecast.at(0.999)[1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("quantile", [0.49, 0.9991, 1.2])
def test_quantiles_outside_the_range_are_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match=r"from 0.5 to 0.999"):
        a_forecast((1, 2, 3, 4, 5)).at(quantile)


def test_the_band_of_a_naive_forecast_follows_its_past_errors() -> None:
    series = a_series(days=8, noise=0.3)
    forecasts = [naive_batch([before(series, cut)], [LastValue(), SeasonalNaive()], 4)[0] for cut in range(400, 700, 3)]
    actual = [series.values[cut : cut + 4] for cut in range(400, 700, 3)]
    covered = np.mean([values <= forecast.values[:, 3] for values, forecast in zip(actual, forecasts, strict=True)])
    assert covered == pytest.approx(0.9, abs=0.06)


def test_the_naive_model_that_was_better_recently_acts() -> None:
    random_walk = of_values(*np.random.default_rng(1).normal(500, 20, 960).cumsum().clip(1))
    daily = a_series(days=10, noise=0.02)
    forecasts = naive_batch([random_walk, daily], [LastValue(), SeasonalNaive()], 12)
    assert [forecast.model for forecast in forecasts] == ["LastValue", "SeasonalNaive"]


@pytest.mark.parametrize("values", [[0.0] * 5, [7.0] * 900, [3.0], [np.nan, 4.0] * 300], ids=str)
def test_every_series_gets_a_naive_forecast(values: list[float]) -> None:
    (forecast,) = naive_batch([of_values(*values)], [LastValue(), SeasonalNaive()], 12)
    assert np.isfinite(forecast.values).all()
    assert (np.diff(forecast.values, axis=1) >= 0).all()
    assert forecast.values[:, 1] == pytest.approx(np.nanmean(values), rel=0.01)


def test_the_first_demand_after_zeros_does_not_inflate_the_band() -> None:
    (forecast,) = naive_batch([of_values(*[0.0] * 300, 99.0, *[0.0] * 200)], [LastValue(), SeasonalNaive()], 8)
    assert forecast.values.max() <= 99


def test_a_walk_refits_on_the_history_before_each_chunk() -> None:
    series = a_series(days=6)
    fitted_lengths: list[int] = []

    class RecordingLastValue(LastValue):
        def fit(self, series: Series) -> FittedModel:
            fitted_lengths.append(len(series.values))
            return self

    walk = walk_forward(series, RecordingLastValue(), 0.5, 3, HORIZONS)
    assert fitted_lengths == [288, 384, 480]
    assert walk.quantiles.shape == (288, 3, len(QUANTILES))
    assert np.isnan(walk.actual[-1, 1]), "the target lies after the end of the series"


@pytest.mark.parametrize(("split", "refits"), [(0.0, 1), (1.0, 1), (0.5, 0), (0.5, 10_000)])
def test_an_impossible_split_is_refused(split: float, refits: int) -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        walk_forward(a_series(days=2), LastValue(), split, refits)


@pytest.mark.parametrize("model", [LastValue(), SeasonalNaive(), FittedHoltWinters()], ids=lambda model: model.name)
def test_the_band_of_a_mostly_idle_series_covers_and_stays_bounded(model: FittedModel) -> None:
    values = np.random.default_rng(5).poisson(0.2, 20 * 96).astype(np.float64)
    walk = calibrated(replay(of_values(*values), model, 10 * 96, HORIZONS))
    assert 0.87 < walk.coverage(0.9) < 0.95
    assert 0.92 < walk.coverage(0.95) < 0.98
    assert walk.at(0.95).max() < 6 * values.max(), "errors at zero demand do not widen the band of a burst"
