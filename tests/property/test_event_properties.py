"""Properties of learned event effects and of forecasts with known events."""

from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.context import Context, KnownEvent
from forecasting.events import Effects, learn_effects
from forecasting.forecast import QUANTILES
from forecasting.forecaster import FittedModel
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.panel import Origins, Panel
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import before
from tests.support.demand_series import TWO_HOURS, a_series, with_events

SERIES = with_events()
CUT = len(SERIES.values) - 4 * 24
AHEAD = np.arange(1, 13)
FAST_MODEL = LightGBMQuantiles(rounds=5, rows=1000, peak_rows=1000, peak_rounds=5)
future_values = arrays(np.float64, 4 * 24, elements=st.floats(0.0, 1e5, allow_subnormal=False))


@cache
def fitted() -> FittedLightGBM:
    return FAST_MODEL.fit(before(SERIES, CUT))


@cache
def effects_until(end: int) -> Effects:
    """The effects of SERIES before a bin."""
    effects = learn_effects(before(SERIES, end))
    assert effects is not None
    return effects


@cache
def usual_forecasts(*origins: int) -> FloatArray:
    """The forecasts of SERIES."""
    return forecasts(fitted(), SERIES, [*origins])


def forecasts(model: FittedModel, series: Series, origins: list[int]) -> FloatArray:
    return model.quantiles(Panel.of([series]), Origins.of_single_series(np.array(origins)), AHEAD)


def with_future(values: FloatArray) -> Series:
    """The same history with other values after CUT."""
    return replace(SERIES, values=np.concatenate([SERIES.values[:CUT], values]))


@settings(max_examples=20, deadline=None)
@given(future_values)
def test_future_samples_change_no_forecast(values: FloatArray) -> None:
    origins = [CUT - 50, CUT - 1, CUT]
    assert np.array_equal(forecasts(fitted(), with_future(values), origins), usual_forecasts(*origins))


@settings(max_examples=10, deadline=None)
@given(future_values)
def test_effects_learned_up_to_a_time_do_not_depend_on_later_samples_or_events(values: FloatArray) -> None:
    learned = effects_until(CUT)
    past_events = tuple(event for event in SERIES.context.events if event.end <= before(SERIES, CUT).end)
    without_future_events = replace(before(with_future(values), CUT), context=Context(events=past_events))
    assert learn_effects(before(with_future(values), CUT)) == learned
    relearned = learn_effects(without_future_events)
    assert relearned is not None
    assert [type_.measured for type_ in relearned.types] == [type_.measured for type_ in learned.types]


@settings(max_examples=10, deadline=None)
@given(st.permutations(SERIES.context.events), st.data())
def test_the_order_and_duplicates_of_events_change_nothing(events: list[KnownEvent], data: st.DataObject) -> None:
    duplicate = data.draw(st.sampled_from(events))
    shuffled = replace(SERIES, context=Context(events=(*events, duplicate)))
    assert learn_effects(shuffled) == effects_until(len(SERIES.values))
    assert np.array_equal(forecasts(fitted(), shuffled, [CUT]), usual_forecasts(CUT))


@settings(max_examples=10, deadline=None)
@given(st.integers(-8, 8))
def test_the_unit_changes_no_amplitude_and_scales_the_forecast(power: int) -> None:
    factor = 2.0**power
    scaled = replace(SERIES, values=SERIES.values * factor)
    effects = effects_until(len(SERIES.values))
    scaled_effects = learn_effects(scaled)
    assert scaled_effects is not None
    sizes = [[event.amplitude for event in learned.types[0].measured] for learned in (scaled_effects, effects)]
    assert np.allclose(*sizes, atol=1e-6)
    assert np.allclose(forecasts(fitted(), scaled, [CUT, CUT - 7]), usual_forecasts(CUT, CUT - 7) * factor, rtol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(20, CUT - 20))
def test_a_past_event_changes_no_forecast_made_before_it(start: int) -> None:
    start_time = SERIES.start + start * SERIES.step
    past_event = KnownEvent("flash-sale", start_time, start_time + TWO_HOURS)
    with_event = replace(SERIES, context=Context(events=(*SERIES.context.events, past_event)))
    reach = timedelta(hours=1) // SERIES.step + int(AHEAD[-1])
    origins = [max(1, start - reach - back) for back in (0, 1, 30)]
    assert np.array_equal(forecasts(fitted(), with_event, origins), usual_forecasts(*origins))


@settings(max_examples=20, deadline=None)
@given(st.integers(4 * 24, CUT), st.floats(0.05, 20.0))
def test_quantiles_near_events_never_cross_and_are_finite(origin: int, factor: float) -> None:
    irregular = replace(SERIES, values=np.where(np.arange(len(SERIES.values)) % 7 < 3, SERIES.values, factor))
    quantiles = forecasts(fitted(), irregular, [origin])
    assert quantiles.shape == (1, len(AHEAD), len(QUANTILES))
    assert np.isfinite(quantiles).all()
    assert (quantiles >= 0).all()
    assert (np.diff(quantiles, axis=2) >= 0).all()


def test_future_and_unnamed_events_do_not_change_the_model() -> None:
    plain = a_series()
    future_event = KnownEvent("flash-sale", plain.end + timedelta(days=1), plain.end + timedelta(days=2))
    nameless = KnownEvent("", plain.start + timedelta(days=3), plain.start + timedelta(days=3, hours=1), 2.0)
    known = replace(plain, context=Context(events=(future_event, nameless)))
    plain_model, with_events_model = FAST_MODEL.fit(plain), FAST_MODEL.fit(known)
    assert with_events_model.events is None
    assert with_events_model.texts() == plain_model.texts()
    assert np.array_equal(with_events_model.forecast(known, 12).values, plain_model.forecast(plain, 12).values)
