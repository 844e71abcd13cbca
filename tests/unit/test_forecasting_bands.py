"""Calibration, gate, youth, interpolation: what is done with a model's quantiles."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.calibration import WINDOW, calibrated, calibration_of, empirical, errors, newest_errors
from forecasting.cold_start import cold_start_factor, widened
from forecasting.forecast import QUANTILES, Forecast
from forecasting.forecaster import Fitted
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch
from forecasting.quality.gate import judge, unopposed
from forecasting.quality.scores import scores
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import WalkForward, before, replay, walk_forward
from tests.support.demand_series import MONDAY, a_series, of_values

HORIZONS = np.array([1, 4, 12])
FAR = a_series(days=20, noise=0.3)


def a_walk(days: float = 20) -> WalkForward:
    return replay(a_series(days=days, noise=0.3), LastValue(), 0, HORIZONS)


def a_forecast(*rows: tuple[float, ...]) -> Forecast:
    return Forecast("a", MONDAY, timedelta(minutes=5), QUANTILES, np.array(rows), "LastValue", "")


def test_calibration_makes_a_quantile_cover_what_it_says() -> None:
    walk = calibrated(a_walk()).since(400)
    for quantile in (0.1, 0.8, 0.9, 0.95):
        assert walk.coverage(quantile) == pytest.approx(quantile, abs=0.02)


def test_calibration_leaves_the_median_where_it_was() -> None:
    walk = a_walk()
    moved = calibrated(walk)
    kept = np.isclose(moved.at(0.5), walk.at(0.5), rtol=1e-6)
    assert kept.mean() > 0.99


@pytest.mark.parametrize("cut", [500, 1003])
def test_no_calibrated_forecast_changes_when_the_future_does(cut: int) -> None:
    values = FAR.values.copy()
    values[cut:] *= 70
    walks = [calibrated(replay(one, LastValue(), 0, HORIZONS)) for one in (FAR, replace(FAR, values=values))]
    early = walks[0].origins <= cut
    assert np.array_equal(walks[0].quantiles[early], walks[1].quantiles[early])
    assert not np.array_equal(walks[0].quantiles[~early], walks[1].quantiles[~early])


def test_an_error_counts_only_when_its_target_time_has_passed() -> None:
    walk = a_walk()
    far = 200
    spoilt = walk.actual.copy()
    # The forecasts 12 ahead from origin `far - 11` on have targets that end after origin `far`.
    spoilt[far - 11 :, 2] = 1e6
    moved = calibrated(replace(walk, actual=spoilt), stride=1)
    assert np.array_equal(moved.quantiles[: far + 1, 2], calibrated(walk, stride=1).quantiles[: far + 1, 2])
    assert not np.array_equal(moved.quantiles[: far + 40, 2], calibrated(walk, stride=1).quantiles[: far + 40, 2])


def test_the_gate_does_not_change_when_the_future_does() -> None:
    cut = 1500
    values = FAR.values.copy()
    values[cut:] = 0
    verdicts = []
    for series in (FAR, replace(FAR, values=values)):
        seen = before(series, cut)
        champion, rival = (calibrated(replay(seen, model, 400, HORIZONS)) for model in (SeasonalNaive(), LastValue()))
        verdicts.append(judge(champion, [rival]))
    assert verdicts[0] == verdicts[1]


def test_the_conformal_quantile_is_one_of_the_errors() -> None:
    residuals = np.arange(99.0)[None, :]
    assert empirical(residuals, 0.9).tolist() == [89.0]
    assert empirical(residuals[:, :5], 0.9).tolist() == [0.0], "five errors say nothing"


def test_the_newest_errors_are_kept_oldest_first() -> None:
    walk = a_walk()
    kept = newest_errors(walk)
    seen = np.isfinite(errors(walk)[:, 0, 0])
    assert kept.shape == (WINDOW, 3, len(QUANTILES))
    assert np.array_equal(kept[:, 0], errors(walk)[seen, 0][-WINDOW:])


def test_between_known_horizons_the_shift_is_interpolated() -> None:
    known = np.zeros((100, 2, len(QUANTILES)))
    known[:, 1] = 1.0
    calibration = calibration_of(known, np.array([2, 12]))
    assert calibration.at(np.array([1, 2, 7, 12, 30]))[:, 3].tolist() == [0, 0, 0.5, 1, 1]


def _champion(high: float, median: float = 1.0) -> WalkForward:
    """A forecast of `high` and `median` times what came, over a noisy day."""
    walk = a_walk(days=6)
    actual: FloatArray = walk.actual[:, :, None] * np.exp(np.random.default_rng(5).normal(0, 0.2, walk.quantiles.shape))
    factors = np.array([0.7, median, 1.15, high, high * 1.1])
    return replace(walk, name="Champion", quantiles=actual[:, :, :1] * factors)


def test_a_champion_that_is_better_acts() -> None:
    verdict = judge(_champion(1.3), [calibrated(a_walk(days=6))])
    assert (verdict.passed, verdict.acting) == (True, "Champion")
    assert "Champion acts: it costs" in verdict.evidence
    assert "of LastValue" in verdict.evidence


@pytest.mark.parametrize(
    ("champion", "why"),
    [
        (_champion(1.02), "covers"),
        (_champion(9.0), "covers 100.0%"),
        (_champion(1.3, median=2.0), "errs more"),
        (_champion(1.3).since(500), "was judged on"),
    ],
)
def test_a_champion_that_is_not_good_enough_is_told_why(champion: WalkForward, why: str) -> None:
    verdict = judge(champion, [calibrated(a_walk(days=6))])
    assert (verdict.passed, verdict.acting) == (False, "LastValue")
    assert why in verdict.evidence


def test_under_forecasting_costs_more() -> None:
    walk = a_walk(days=6)
    low, high = (replace(walk, quantiles=walk.actual[:, :, None] * np.full(5, factor)) for factor in (0.8, 1.2))
    assert scores(low).whole.cost == pytest.approx(9 * scores(high).whole.cost)


def test_without_a_champion_the_best_naive_model_acts() -> None:
    series = a_series(days=6, noise=0.02)
    walks = [calibrated(replay(series, model, 96, np.array([12]))) for model in (LastValue(), SeasonalNaive())]
    verdict = unopposed(walks, "too little history")
    assert verdict.acting == "SeasonalNaive"
    assert verdict.evidence == "SeasonalNaive acts: too little history"


def test_the_band_is_wide_in_youth_and_right_after_a_week() -> None:
    ages = [cold_start_factor(a_series(days=days)) for days in (0.01, 1, 2, 6.9, 7, 30)]
    assert ages == [2.0, pytest.approx(1.2), pytest.approx(1.1), pytest.approx(1.029, abs=0.001), 1.0, 1.0]
    assert cold_start_factor(of_values(np.nan, np.nan)) == 2.0


def test_youth_widens_upwards_only() -> None:
    assert widened(np.array([1.0, 2, 3, 4, 5]), 1.5).tolist() == [1, 2, 4.5, 6, 7.5]


def test_a_forecast_has_any_quantile_from_half_to_one_in_a_thousand() -> None:
    forecast = a_forecast((50, 100, 120, 140, 150), (0, 0, 0, 0, 0))
    assert forecast.at(0.9).tolist() == [140, 0]
    between = [forecast.at(q)[0] for q in (0.5, 0.6, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99, 0.999)]
    assert between == sorted(between)
    assert len(set(between)) == 10
    assert 150 < between[-1] < 400
    assert forecast.at(0.999)[1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("quantile", [0.49, 0.9991, 1.2])
def test_other_quantiles_are_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match=r"between 0.5 and 0.999"):
        a_forecast((1, 2, 3, 4, 5)).at(quantile)


def test_a_naive_answer_has_a_band_from_its_own_past() -> None:
    series = a_series(days=8, noise=0.3)
    hits = [naive_batch([before(series, cut)], [LastValue(), SeasonalNaive()], 4)[0] for cut in range(400, 700, 3)]
    actual = [series.values[cut : cut + 4] for cut in range(400, 700, 3)]
    covered = np.mean([came <= made.values[:, 3] for came, made in zip(actual, hits, strict=True)])
    assert covered == pytest.approx(0.9, abs=0.06)


def test_the_naive_model_that_was_better_lately_answers() -> None:
    steady = of_values(*np.random.default_rng(1).normal(500, 20, 960).cumsum().clip(1))
    daily = a_series(days=10, noise=0.02)
    found = naive_batch([steady, daily], [LastValue(), SeasonalNaive()], 12)
    assert [one.model for one in found] == ["LastValue", "SeasonalNaive"]


@pytest.mark.parametrize("values", [[0.0] * 5, [7.0] * 900, [3.0], [np.nan, 4.0] * 300], ids=str)
def test_a_naive_answer_is_there_for_any_series(values: list[float]) -> None:
    (found,) = naive_batch([of_values(*values)], [LastValue(), SeasonalNaive()], 12)
    assert np.isfinite(found.values).all()
    assert (np.diff(found.values, axis=1) >= 0).all()
    assert found.values[:, 1] == pytest.approx(np.nanmean(values), rel=0.01)


def test_the_first_demand_after_nothing_blows_no_band_up() -> None:
    (found,) = naive_batch([of_values(*[0.0] * 300, 99.0, *[0.0] * 200)], [LastValue(), SeasonalNaive()], 8)
    assert found.values.max() <= 99


def test_a_walk_refits_on_what_was_before_each_stretch() -> None:
    series = a_series(days=6)
    lengths: list[int] = []

    class Watched(LastValue):
        def fit(self, series: Series) -> Fitted:
            lengths.append(len(series.values))
            return self

    walk = walk_forward(series, Watched(), 0.5, 3, HORIZONS)
    assert lengths == [288, 384, 480]
    assert walk.quantiles.shape == (288, 3, len(QUANTILES))
    assert np.isnan(walk.actual[-1, 1]), "beyond the end nothing came"


@pytest.mark.parametrize(("split", "refits"), [(0.0, 1), (1.0, 1), (0.5, 0), (0.5, 10_000)])
def test_a_walk_that_cannot_be_is_refused(split: float, refits: int) -> None:
    with pytest.raises(ValueError, match="cannot be split"):
        walk_forward(a_series(days=2), LastValue(), split, refits)


@pytest.mark.parametrize("model", [LastValue(), SeasonalNaive(), FittedHoltWinters()], ids=lambda model: model.name)
def test_the_band_of_a_series_that_is_mostly_zero_covers_and_does_not_explode(model: Fitted) -> None:
    values = np.random.default_rng(5).poisson(0.2, 20 * 96).astype(np.float64)
    walk = calibrated(replay(of_values(*values), model, 10 * 96, HORIZONS))
    assert 0.87 < walk.coverage(0.9) < 0.95
    assert 0.92 < walk.coverage(0.95) < 0.98
    assert walk.at(0.95).max() < 6 * values.max(), "an error at zero is no error of a burst"
