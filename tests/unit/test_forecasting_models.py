"""Every forecaster: no look into the future, ordered quantiles, gaps, batches, and its own pattern."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from forecasting.context import Context
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel, Forecaster, TooShortError
from forecasting.models.holt_winters import FittedHoltWinters, HoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import Panel
from forecasting.series import Series
from forecasting.walk_forward import before, replay, walk_forward
from tests.support.demand_series import a_series, of_values

FEW_PEAKS = LightGBMQuantiles(peak_rows=2000, peak_rounds=8)
"""No test here asserts anything about peaks; the boosters of the quantiles do not depend on them."""
FAST_MODEL = replace(FEW_PEAKS, rounds=8, rows=2000)
FORECASTERS: dict[str, Callable[[], Forecaster]] = {
    "last value": LastValue,
    "seasonal naive": SeasonalNaive,
    "Holt-Winters": HoltWinters,
    "LightGBM": lambda: FAST_MODEL,
}
HORIZONS = np.array([1, 4, 12])


@pytest.fixture(params=FORECASTERS, scope="module")
def fitted(request: pytest.FixtureRequest) -> FittedModel:
    return FORECASTERS[request.param]().fit(before(a_series(), 600))


@pytest.mark.parametrize("kind", FORECASTERS)
@pytest.mark.parametrize("cut", [620, 655])
def test_future_samples_change_no_forecast(kind: str, cut: int) -> None:
    series = a_series()
    changed_values = series.values.copy()
    changed_values[cut:] = np.roll(changed_values[cut:], 17)[::-1] * 50
    changed = replace(series, values=changed_values)
    forecaster = FORECASTERS[kind]()
    split = cut / len(series.values)
    walk, changed_walk = (walk_forward(history, forecaster, split, 1, HORIZONS) for history in (series, changed))
    assert np.array_equal(walk.quantiles[0], changed_walk.quantiles[0])
    model = forecaster.fit(before(series, cut))
    replayed, changed_replay = (replay(history, model, 10, HORIZONS) for history in (series, changed))
    past = replayed.origins <= cut
    assert np.array_equal(replayed.quantiles[past], changed_replay.quantiles[past])
    assert not np.array_equal(replayed.quantiles[~past], changed_replay.quantiles[~past]), "the change has no effect"


def test_quantiles_never_cross_and_are_finite(fitted: FittedModel) -> None:
    values = replay(a_series(noise=0.8), fitted, 0, HORIZONS).quantiles
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (np.diff(values, axis=2) >= 0).all()


@pytest.mark.parametrize("kind", FORECASTERS)
def test_scaling_a_series_scales_its_forecast(kind: str) -> None:
    series = a_series()
    large = replace(series, values=series.values * 1024)
    forecasts = [FORECASTERS[kind]().fit(history).forecast(history, 12).values for history in (series, large)]
    assert forecasts[1] == pytest.approx(forecasts[0] * 1024, rel=0.02)


def test_a_series_with_gaps_gets_a_plausible_forecast(fitted: FittedModel) -> None:
    series = a_series()
    values = series.values.copy()
    values[np.random.default_rng(3).random(len(values)) < 0.3] = np.nan
    values[-40:] = np.nan
    forecast = fitted.forecast(replace(series, values=values), 12)
    assert np.isfinite(forecast.values).all()
    assert 10 < forecast.values[:, 1].mean() < 400


@pytest.mark.parametrize(
    "values",
    [[0.0] * 5, [7.0] * 5, [7.0], [], [np.nan] * 200, [0.0] * 900, [5.0] * 900, [np.inf, -3.0, 4.0]],
    ids=["five zeros", "five sevens", "one value", "empty", "only gaps", "all zero", "constant", "invalid values"],
)
def test_a_fitted_model_forecasts_any_series(fitted: FittedModel, values: list[float]) -> None:
    forecast = fitted.forecast(of_values(*values), 12)
    assert forecast.values.shape == (12, len(QUANTILES))
    assert np.isfinite(forecast.values).all()


def test_a_batch_gives_the_same_forecasts_as_single_series(fitted: FittedModel) -> None:
    series = [a_series(seed=seed, days=days) for seed, days in ((1, 8), (2, 8), (3, 5))]
    batch = fitted.forecast_batch(series, 6)
    for member, forecast in zip(series, batch, strict=True):
        # Holt-Winters starts where the batch's longest series starts.
        assert forecast.values == pytest.approx(fitted.forecast(member, 6).values, rel=0.2)
        assert forecast.origin == member.end


def test_bins_may_begin_off_the_round_minute(fitted: FittedModel) -> None:
    series = a_series()
    shifted = replace(series, start=series.start + timedelta(minutes=3))
    assert fitted.forecast(shifted, 4).origin.minute == 3
    assert np.isfinite(fitted.forecast(shifted, 4).values).all()


@pytest.mark.parametrize("kind", ["Holt-Winters", "LightGBM"])
def test_fitting_to_too_little_history_raises(kind: str) -> None:
    with pytest.raises(TooShortError, match="shop/checkout has"):
        FORECASTERS[kind]().fit(before(a_series(), 100))


def test_the_number_of_threads_does_not_change_the_model() -> None:
    models = [replace(FAST_MODEL, threads=threads).fit(a_series()) for threads in (1, 2)]
    texts = [model.texts() for model in models]
    assert texts[0] == texts[1]


def test_a_model_survives_serialization() -> None:
    model = FAST_MODEL.fit(a_series())
    loaded = FittedLightGBM.from_texts(model.texts(), model.columns, "v1")
    assert np.array_equal(loaded.forecast(a_series(), 8).values, model.forecast(a_series(), 8).values)


def test_the_features_with_the_highest_gain_are_kept() -> None:
    model = replace(FAST_MODEL, feature_count=6).fit(a_series())
    assert len(model.columns) == 6
    assert np.isfinite(model.forecast(a_series(), 8).values).all()


def test_lightgbm_learns_the_daily_shape() -> None:
    series = a_series(days=14, noise=0.05)
    walks = [walk_forward(series, kind, 0.7, 1, np.array([8])) for kind in (replace(FEW_PEAKS, rounds=60), LastValue())]
    assert walks[0].wape()[0] < 0.5 * walks[1].wape()[0]


def test_contributions_are_texts_with_percentages() -> None:
    series = a_series()
    fitted = replace(FEW_PEAKS, rounds=30, rows=4000).fit(series)
    panel = Panel.of([series])
    (reasons,) = fitted.contributions(panel, panel.latest_origins(), np.arange(1, 5))
    assert 1 <= len(reasons) <= 3
    assert all("%)" in reason for reason in reasons)


def test_last_value_repeats_the_newest_value() -> None:
    assert LastValue().fit(of_values(1, 2, 3)).forecast(of_values(1, 2, 9), 2).values.tolist() == [[9] * 5] * 2


def test_seasonal_naive_repeats_the_same_time_yesterday() -> None:
    series = a_series(days=3)
    forecast = SeasonalNaive().forecast(series, 4)
    assert forecast.values[:, 1].tolist() == series.values[-96:-92].tolist()


def test_holt_winters_follows_the_daily_shape() -> None:
    series = a_series(days=7, noise=0.02)
    forecast = FittedHoltWinters().forecast(before(series, 600), 12)
    assert forecast.values[:, 1] == pytest.approx(series.values[600:612], rel=0.25)


def test_holt_winters_agrees_with_statsmodels() -> None:
    series = a_series(days=4)
    (smoothing,) = HoltWinters().fit(series).smoothings
    logs = np.log(series.values + 10)
    start = logs[:96].mean()
    statsmodels_fit = ExponentialSmoothing(
        logs,
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=96,
        initialization_method="known",
        initial_level=start,
        initial_trend=0.0,
        initial_seasonal=logs[:96] - start,
    ).fit(smoothing.level, smoothing.trend, smoothing.season, damping_trend=smoothing.damping, optimized=False)
    forecast = FittedHoltWinters((smoothing,)).forecast(series, 12).values[:, 1]
    # The offset differs slightly (here a tenth of the first day's mean), and so do the logarithms.
    assert forecast == pytest.approx(np.exp(statsmodels_fit.forecast(12)) - 10, rel=0.02)


def test_holt_winters_has_one_smoothing_per_series_of_a_batch() -> None:
    series = [a_series(seed=seed) for seed in (1, 2)]
    models = [HoltWinters().fit(member) for member in series]
    batch = FittedHoltWinters(tuple(model.smoothings[0] for model in models)).forecast_batch(series, 6)
    for member, model, forecast in zip(series, models, batch, strict=True):
        assert np.allclose(forecast.values, model.forecast(member, 6).values)


def test_a_batch_of_series_with_different_steps_is_refused() -> None:
    other = Series("b", a_series().start, timedelta(minutes=5), np.ones(10))
    with pytest.raises(ValueError, match="same step"):
        LastValue().forecast_batch([a_series(), other], 3)


def test_seasonal_naive_uses_the_lag_that_was_best_recently() -> None:
    weekly = a_series(22, noise=0.05, weekend=0.3)
    levels = np.repeat(np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.1, 800))), 4)
    timer = of_values(*(np.tile([100.0, 1.0, 1.0, 1.0], 800) * levels))
    panels = {"weekly": Panel.of([weekly]), "timer": Panel.of([timer]), "daily": Panel.of([a_series(22)])}
    lags = {
        name: SeasonalNaive().contributions(panel, panel.latest_origins(), HORIZONS)[0][0]
        for name, panel in panels.items()
    }
    assert lags == {
        "weekly": "the same time a week ago",
        "timer": "the same time an hour ago",
        "daily": "the same time yesterday",
    }
    errors = replay(weekly, SeasonalNaive(), 15 * 96, HORIZONS).wape()
    assert (errors < 0.08).all(), "a weekend is forecast from the last weekend"


def test_a_holiday_is_forecast_as_a_sunday_where_the_country_is_set() -> None:
    sundays = a_series(60, noise=0.05, weekend=0.3)
    christmas = slice(53 * 96, 54 * 96)
    values = sundays.values.copy()
    values[christmas] *= 0.3
    plain = replace(sundays, values=values)
    known = replace(plain, context=Context(country="FR"))
    assert (plain.start + 53 * timedelta(days=1)).date().isoformat() == "2026-12-25"
    for forecaster, max_error in ((SeasonalNaive(), 0.1), (replace(FEW_PEAKS, rounds=40, rows=20_000), 0.2)):
        errors: list[float] = []
        for series in (plain, known):
            walk = replay(
                before(series, christmas.stop), forecaster.fit(before(series, christmas.start)), 53 * 96, HORIZONS
            )
            errors.append(float(walk.wape()[-1]))
        assert errors[1] < min(max_error, 0.7 * errors[0]), forecaster.name


def test_bursts_of_a_timer_are_forecast_at_the_right_time() -> None:
    bins = np.arange(12 * 288)
    noise = np.random.default_rng(4).lognormal(sigma=0.15, size=len(bins))
    hourly = of_values(*(noise * np.where(bins % 12 == 0, 60.0, 2.0)), step=timedelta(minutes=5))
    nightly = of_values(*(noise * np.where(bins % 288 < 12, 900.0, 0.0)), step=timedelta(minutes=5))
    for series, max_error in ((hourly, 0.3), (nightly, 0.5)):
        fitted = replace(FEW_PEAKS, rounds=60, rows=20_000).fit(before(series, 10 * 288))
        assert replay(series, fitted, 10 * 288, np.array([6])).wape()[0] < max_error


def test_holt_winters_has_no_season_where_days_do_not_repeat() -> None:
    bins = 10 * 96
    random_walk = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(scale=0.05, size=bins)))
    series = replace(a_series(days=10), values=random_walk)
    fitted = HoltWinters().fit(series)
    (smoothing,) = fitted.smoothings
    assert not smoothing.seasonal
    assert HoltWinters().fit(a_series(days=10)).smoothings[0].seasonal
    forced = replace(fitted, smoothings=(replace(smoothing, season=0.1, seasonal=True),))
    errors = [replay(series, model, 500, np.array([1, 4])).wape().mean() for model in (fitted, forced)]
    assert errors[0] < 0.9 * errors[1]
    panel = Panel.of([series])
    assert fitted.contributions(panel, panel.latest_origins(), np.array([1])) == [
        ("level and trend of the last hours",)
    ]
