"""What holds of known events whatever they are."""

from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecasting.context import Context, KnownEvent
from forecasting.events import learn_effects
from forecasting.forecast import QUANTILES
from forecasting.forecaster import Fitted
from forecasting.models.lightgbm_quantiles import FittedLightGBM, LightGBMQuantiles
from forecasting.panel import Origins, Panel
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import before
from tests.support.demand_series import a_series
from tests.support.event_series import TWO_HOURS, with_events

SERIES = with_events()
CUT = len(SERIES.values) - 4 * 24
AHEAD = np.arange(1, 13)
QUICK = LightGBMQuantiles(rounds=5, rows=1000)
coming = arrays(np.float64, 4 * 24, elements=st.floats(0.0, 1e5, allow_subnormal=False))


@cache
def fitted() -> FittedLightGBM:
    return QUICK.fit(before(SERIES, CUT))


def forecasts(model: Fitted, series: Series, origins: list[int]) -> FloatArray:
    return model.quantiles(Panel.of([series]), Origins.of_one(np.array(origins)), AHEAD)


def later(values: FloatArray) -> Series:
    """The same past with another future."""
    return replace(SERIES, values=np.concatenate([SERIES.values[:CUT], values]))


@settings(max_examples=20, deadline=None)
@given(coming)
def test_the_future_changes_no_forecast_made_before_it(values: FloatArray) -> None:
    origins = [CUT - 50, CUT - 1, CUT]
    assert np.array_equal(forecasts(fitted(), later(values), origins), forecasts(fitted(), SERIES, origins))


@settings(max_examples=10, deadline=None)
@given(coming)
def test_what_is_learned_up_to_a_moment_does_not_know_what_comes_after(values: FloatArray) -> None:
    whole = learn_effects(before(SERIES, CUT))
    over = tuple(event for event in SERIES.context.events if event.end <= before(SERIES, CUT).end)
    forgetful = replace(before(later(values), CUT), context=Context(events=over))
    assert whole is not None
    assert learn_effects(before(later(values), CUT)) == whole
    known = learn_effects(forgetful)
    assert known is not None
    assert [type_.measured for type_ in known.types] == [type_.measured for type_ in whole.types]


@settings(max_examples=10, deadline=None)
@given(st.permutations(SERIES.context.events), st.data())
def test_the_order_of_events_changes_nothing_nor_does_one_told_twice(
    events: list[KnownEvent], data: st.DataObject
) -> None:
    twice = data.draw(st.sampled_from(events))
    shuffled = replace(SERIES, context=Context(events=(*events, twice)))
    assert learn_effects(shuffled) == learn_effects(SERIES)
    assert np.array_equal(forecasts(fitted(), shuffled, [CUT]), forecasts(fitted(), SERIES, [CUT]))


@settings(max_examples=10, deadline=None)
@given(st.integers(-8, 8))
def test_demand_in_another_unit_is_forecast_in_that_unit(power: int) -> None:
    factor = 2.0**power
    scaled = replace(SERIES, values=SERIES.values * factor)
    plain = learn_effects(SERIES)
    found = learn_effects(scaled)
    assert plain is not None
    assert found is not None
    sizes = [[one.amplitude for one in known.types[0].measured] for known in (found, plain)]
    assert np.allclose(*sizes, atol=1e-6)
    assert np.allclose(
        forecasts(fitted(), scaled, [CUT, CUT - 7]), forecasts(fitted(), SERIES, [CUT, CUT - 7]) * factor, rtol=1e-3
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(20, CUT - 20))
def test_an_event_that_is_over_changes_only_forecasts_of_its_time_and_later(start: int) -> None:
    began = SERIES.start + start * SERIES.step
    more = KnownEvent("flash-sale", began, began + TWO_HOURS)
    told = replace(SERIES, context=Context(events=(*SERIES.context.events, more)))
    reach = timedelta(hours=1) // SERIES.step + int(AHEAD[-1])
    origins = [max(1, start - reach - back) for back in (0, 1, 30)]
    assert np.array_equal(forecasts(fitted(), told, origins), forecasts(fitted(), SERIES, origins))


@settings(max_examples=20, deadline=None)
@given(st.integers(4 * 24, CUT), st.floats(0.05, 20.0))
def test_quantiles_near_events_never_cross_and_are_finite(origin: int, factor: float) -> None:
    strange = replace(SERIES, values=np.where(np.arange(len(SERIES.values)) % 7 < 3, SERIES.values, factor))
    found = forecasts(fitted(), strange, [origin])
    assert found.shape == (1, len(AHEAD), len(QUANTILES))
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found, axis=2) >= 0).all()


def test_a_series_without_events_is_learned_and_forecast_as_if_nothing_were_known_of_events() -> None:
    plain = a_series()
    after = KnownEvent("flash-sale", plain.end + timedelta(days=1), plain.end + timedelta(days=2))
    nameless = KnownEvent("", plain.start + timedelta(days=3), plain.start + timedelta(days=3, hours=1), 2.0)
    known = replace(plain, context=Context(events=(after, nameless)))
    untold, told = QUICK.fit(plain), QUICK.fit(known)
    assert told.events is None
    assert told.texts() == untold.texts()
    assert np.array_equal(told.forecast(known, 12).values, untold.forecast(plain, 12).values)
