"""The calibrated forecast of the same inputs is the same in the quality gate, in training, in a backtest and live."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.bands import Bands, cold_start_factor
from forecasting.calibration import (
    NAIVE_ORIGINS,
    calibrate,
    calibrated,
    fit_calibration,
    measured_horizons,
    newest_errors,
)
from forecasting.forecast import PEAK_QUANTILES, Forecast
from forecasting.forecaster import FittedModel, ModelChoice
from forecasting.learning import LearnedModels, Span, learn
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.naive_batch import naive_batch
from forecasting.panel import Origins, Panel
from forecasting.peaks import highest_so_far, rolling_peak_shifts
from forecasting.quality.gate import ActingModel, Verdict
from forecasting.series import Series
from forecasting.walk_forward import WalkForward, before, replay, walk_with_models
from predictive_scaling.backtesting.rolling_forecasts import Plan, RollingForecasts, plan_of
from predictive_scaling.backtesting.walk_forward import walk_forward
from predictive_scaling.models.manifest import ActingRecord
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.batch import Batch, ForecastRequest
from predictive_scaling.serving.live_errors import LiveErrors
from predictive_scaling.serving.served_models import ServedModel
from tests.support.demand_series import a_series, with_events

STEPS = 12
NAIVE_MODELS: tuple[FittedModel, ...] = (LastValue(), SeasonalNaive(), FittedHoltWinters())
KEY = SeriesKey("checkout", "rps", "Sum")
SMALL_MODEL = LightGBMQuantiles(rounds=15, rows=3000, peak_rows=2000, peak_rounds=15)
seeds = st.integers(0, 2**32 - 1)
missing_shares = st.sampled_from([0.0, 0.05])


def quiet(step: str, done: float) -> None:
    """Report no progress."""


def a_demand(seed: int, missing: float, days: float = 12) -> Series:
    """Demand with missing bins, of which none is an outlier."""
    series = a_series(days, seed=seed % 1000, noise=0.3)
    is_missing = np.random.default_rng(seed).random(len(series.values)) < missing
    return replace(series, values=np.where(is_missing, np.nan, series.values), outliers=())


def as_judged(series: Series, model: FittedModel, origin: int) -> Bands:
    """The bands of a naive model at one origin, with quantiles as the gate scores them."""
    horizons = np.arange(1, STEPS + 1)
    raw = replay(series, model, 0, horizons)
    # With this stride shifts are computed for the origin, and not for each one before it.
    walk = calibrated(raw, NAIVE_ORIGINS, stride=origin, measured=measured_horizons(series.step, STEPS))
    raw_peaks = highest_so_far(np.repeat(raw.at(0.5)[:, :, None], len(PEAK_QUANTILES), axis=2))
    shifts = rolling_peak_shifts(series, 0, raw_peaks, NAIVE_ORIGINS)
    row, factors = slice(origin, origin + 1), np.array([cold_start_factor(before(series, origin))])
    return Bands.of(walk.quantiles[row], raw_peaks[row], shifts[row], walk.levels[row], factors)


@settings(max_examples=20)
@given(seeds, missing_shares, st.sampled_from(NAIVE_MODELS), st.integers(117, 183))
def test_a_naive_model_is_served_as_the_gate_judged_it(
    seed: int, missing: float, model: FittedModel, renewal: int
) -> None:
    # Shifts of peaks are computed again every six origins.
    series, origin = a_demand(seed, missing), 6 * renewal
    judged = as_judged(series, model, origin)
    (live,) = naive_batch([before(series, origin)], [model], STEPS)
    assert live.peaks is not None
    np.testing.assert_allclose(live.values, judged.values[0], rtol=1e-9)
    np.testing.assert_allclose(live.peaks, judged.peaks[0], rtol=1e-9)


@settings(max_examples=6)
@given(seeds, missing_shares, st.integers(0, 20))
def test_a_naive_model_forecasts_in_a_backtest_as_it_does_live(seed: int, missing: float, renewal: int) -> None:
    series = a_demand(seed, missing)
    plan = plan_of(series, 0.7, 1, range(1, STEPS + 1), STEPS)
    rolling = walk_forward(series, plan, ModelChoice.SEASONAL_NAIVE, report=quiet)
    # Shifts are computed again every six origins from the first of the walk on.
    origin = int(rolling.baselines["SeasonalNaive"].origins[0]) + 6 * (150 + renewal)
    assert plan.split < origin
    for model, backtest in ((SeasonalNaive(), rolling), (LastValue(), rolling.of_baseline("LastValue"))):
        (live,) = naive_batch([before(series, origin)], [model], STEPS)
        forecast = backtest.at(origin)
        assert live.peaks is not None
        assert forecast.peaks is not None
        np.testing.assert_allclose(forecast.values, live.values, rtol=1e-9)
        np.testing.assert_allclose(forecast.peaks, live.peaks, rtol=0.02 if backtest is not rolling else 1e-9)


@settings(max_examples=20)
@given(seeds, st.integers(900, 1100))
def test_live_errors_calibrate_as_the_gate_and_the_training_do(seed: int, origin: int) -> None:
    series, horizons = a_demand(seed, 0.0), np.array([1, 2, 4, 8, 12])
    spread = np.array([0.8, 1.0, 1.1, 1.2, 1.3])

    def raw_walk(known: Series) -> WalkForward:
        walk = replay(known, LastValue(), 0, horizons)
        return replace(walk, quantiles=walk.quantiles * spread)

    walk, known = raw_walk(series), newest_errors(raw_walk(before(series, origin)))
    raw, levels = walk.quantiles[origin : origin + 1], walk.levels[origin : origin + 1]
    judged = calibrated(walk, stride=origin).quantiles[origin]
    learned = calibrate(raw, fit_calibration(known, horizons).shifts, levels)[0]
    np.testing.assert_allclose(learned, judged, rtol=1e-9)
    every_bin = np.repeat(raw[:, :1], STEPS, axis=1)
    calibration = LiveErrors(horizons, known).calibration(every_bin, levels, before(series, origin))
    # Live errors are kept in half precision, and are logarithms of values plus an offset.
    live = calibrate(raw, calibration.at(horizons), levels)[0]
    np.testing.assert_allclose(live, judged, rtol=2e-3, atol=2e-3 * float(levels.offset[0]))


@cache
def learned_models() -> LearnedModels:
    return learn(a_demand(7, 0.0), SMALL_MODEL)


class OneModel:
    """Tiers with the LightGBM of one training."""

    def __init__(self, learned: LearnedModels) -> None:
        assert learned.lightgbm is not None
        errors = LiveErrors(learned.horizons, learned.residuals)
        by_horizon = tuple(
            ActingRecord(horizon=acting.horizon, model=acting.model) for acting in learned.verdict.by_horizon
        )
        self._served = ServedModel(learned.lightgbm, errors, by_horizon)
        self.known: dict[SeriesKey, object] = {}

    def serving(self, key: SeriesKey, series: Series, *, gated: bool = True) -> ServedModel:
        return self._served

    def verdict(self, key: SeriesKey, model: str) -> None:
        return None


def as_served(learned: LearnedModels, series: Series) -> Forecast:
    batch: Batch[str] = Batch(OneModel(learned))  # pyright: ignore[reportArgumentType]
    return batch.forecast({"a": ForecastRequest(KEY, series, ModelChoice.AUTO, STEPS)})["a"]


@pytest.mark.parametrize(
    "by_horizon", [(), (ActingModel(2, "SeasonalNaive"), ActingModel(48, "LightGBM"))], ids=["alone", "with-naive"]
)
@pytest.mark.parametrize("days", [3, 12])
def test_a_trained_model_is_served_as_the_training_forecasts(by_horizon: tuple[ActingModel, ...], days: float) -> None:
    learned = learned_models()
    learned = replace(learned, verdict=replace(learned.verdict, passed=True, by_horizon=by_horizon))
    series = a_demand(8, 0.0, days)
    expected, live = learned.forecast(series, STEPS), as_served(learned, series)
    assert expected.peaks is not None
    assert live.peaks is not None
    np.testing.assert_allclose(live.values, expected.values, rtol=2e-3)
    np.testing.assert_allclose(live.peaks, expected.peaks, rtol=2e-3)
    assert (live.peaks >= live.values[: len(live.peaks), 1:] - 1e-9).all()


TABLE = (ActingModel(6, "LastValue"), ActingModel(48, "LightGBM"))
"""LastValue acts at the first six bins ahead."""
SALES = with_events(20)


@cache
def a_walk_near_sales() -> RollingForecasts:
    """A backtest whose gate lets LastValue act at near horizons of the last chunk.

    Shifts of both models are computed again at the same origins: every six bins from the second of the series on.
    """
    first = 1 + 6 * 112
    cuts = (first, 2 * first - 1, len(SALES.values))
    plan = Plan(cuts, cuts[1], np.arange(1, STEPS + 1), STEPS)

    def judge(*walks: object) -> Verdict:
        return Verdict(True, "LightGBM", "as the test requires", None, (), TABLE)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("predictive_scaling.backtesting.walk_forward.judge", judge)
        patch.setattr("predictive_scaling.backtesting.walk_forward.LightGBMQuantiles", lambda: SMALL_MODEL)
        return walk_forward(SALES, plan, ModelChoice.AUTO, report=quiet)


def renewals_near_a_sale() -> list[int]:
    """Origins at which the backtest calibrates again, whose first six bins are near a sale in part."""
    rolling = a_walk_near_sales()
    fitted = rolling.chunks[-1].fitted
    origins = np.arange(rolling.first, len(SALES.values) - STEPS, 6)
    origins = origins[origins >= rolling.plan.split]
    near = fitted.near_events(Panel.of([SALES]), Origins.of_single_series(origins), np.arange(1, 7))
    assert near is not None
    return origins[near.any(axis=1) & ~near.all(axis=1)].tolist()


def as_served_in_place_of_the_backtest(origin: int, table: tuple[ActingModel, ...]) -> tuple[Forecast, LearnedModels]:
    """The live forecast at an origin by the models and the errors that the backtest has there."""
    rolling = a_walk_near_sales()
    known, cuts = before(SALES, origin), np.array([*rolling.plan.cuts[:-1], origin])
    models, horizons = [chunk.fitted for chunk in rolling.chunks], measured_horizons(SALES.step, STEPS)
    raw = walk_with_models(known, models, cuts, horizons)
    fitted = rolling.chunks[-1].fitted
    assert isinstance(fitted, FittedLightGBM)
    verdict = Verdict(True, "LightGBM", "as the test requires", None, (), table)
    span = Span(SALES.start, known.end, SALES.step, origin)
    learned = LearnedModels(span, verdict, fitted, None, raw.horizons, newest_errors(raw))
    return as_served(learned, known), learned


@pytest.mark.parametrize("number", range(3))
def test_near_a_known_event_lightgbm_acts_at_all_horizons_in_a_backtest_in_training_and_live(number: int) -> None:
    origin = renewals_near_a_sale()[number]
    live, learned = as_served_in_place_of_the_backtest(origin, TABLE)
    alone, _ = as_served_in_place_of_the_backtest(origin, ())
    known = before(SALES, origin)
    assert learned.lightgbm is not None
    near = learned.lightgbm.near_events(Panel.of([known]), Panel.of([known]).latest_origins(), np.arange(1, STEPS + 1))
    assert near is not None
    naive = naive_batch([known], [LastValue()], STEPS)[0].values[:6]
    backtested, trained = a_walk_near_sales().at(origin), learned.forecast(known, STEPS)
    for forecast in (live, trained, backtested):
        np.testing.assert_allclose(forecast.values, np.sort(forecast.values, axis=1))
        np.testing.assert_allclose(forecast.values[near[0]], alone.values[near[0]], rtol=4e-3)
        np.testing.assert_allclose(forecast.values[:6][~near[0, :6]], naive[~near[0, :6]], rtol=4e-3)
        np.testing.assert_allclose(forecast.values, live.values, rtol=4e-3)
    assert near[0, :6].any()
    assert not near[0, :6].all()
    assert live.event_types == backtested.event_types == {"flash-sale"}


def test_without_bands_near_events_naive_models_act_there_and_no_event_is_contained() -> None:
    origin = renewals_near_a_sale()[0]
    live, learned = as_served_in_place_of_the_backtest(origin, TABLE)
    assert learned.lightgbm is not None
    assert learned.lightgbm.events is not None
    no_bands = replace(learned.lightgbm, events=replace(learned.lightgbm.events, bands=None))
    known = before(SALES, origin)
    forecast = as_served(replace(learned, lightgbm=no_bands), known)
    np.testing.assert_allclose(forecast.values[:6], naive_batch([known], [LastValue()], STEPS)[0].values[:6], rtol=4e-3)
    alone = as_served(replace(learned, lightgbm=no_bands, verdict=replace(learned.verdict, by_horizon=())), known)
    chunk = replace(a_walk_near_sales().chunks[-1], fitted=no_bands)
    assert forecast.event_types == chunk.event_types == frozenset()
    assert alone.event_types == replace(chunk, by_horizon=()).event_types == live.event_types
