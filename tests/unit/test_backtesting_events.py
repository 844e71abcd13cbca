"""Known events in a backtest: effects learned from the past, baselines without the event, separate scores."""

from datetime import timedelta

import numpy as np
import pytest

from forecasting.context import KnownEvent
from forecasting.forecast import QUANTILES
from forecasting.forecaster import ModelChoice
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from predictive_scaling.backtesting.accuracy import AFTER, BEFORE, is_near, near_events
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts, plan_of
from predictive_scaling.backtesting.walk_forward import walk_forward
from predictive_scaling.decision.events.occurrences import known_events
from tests.support.builders import NOON, an_event
from tests.support.demand_series import TWO_HOURS, with_events

SERIES = with_events(20)
SMALL_MODEL = LightGBMQuantiles(rounds=60, rows=10_000, peak_rows=2000, peak_rounds=8)
"""It learns the days and the events as well as one of the default size; peaks are not asserted."""
MEDIAN = QUANTILES.index(0.5)


@pytest.fixture(scope="module")
def forecasts() -> RollingForecasts:
    plan = plan_of(SERIES, 0.7, 1, [1, 2, 4], 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("predictive_scaling.backtesting.walk_forward.LightGBMQuantiles", lambda: SMALL_MODEL)
        return walk_forward(SERIES, plan, ModelChoice.LIGHTGBM, report=lambda what, done: None)


def an_event_after_the_split(forecasts: RollingForecasts) -> tuple[KnownEvent, int]:
    """An event of the holdout, and the origin whose next bin is its start."""
    split = forecasts.moment(forecasts.plan.split)
    events = sorted(SERIES.context.events, key=lambda event: event.start)
    event = next(event for event in events if event.start > split)
    return event, (event.start - SERIES.start) // SERIES.step


def test_the_baseline_of_an_event_is_forecast_without_it(forecasts: RollingForecasts) -> None:
    event, origin = an_event_after_the_split(forecasts)
    baseline = forecasts.without_event(origin, TWO_HOURS, without=event).values[1:4, MEDIAN]
    usual = SERIES.values[origin + 1 : origin + 4] / 2
    assert baseline == pytest.approx(usual, rel=0.3)
    assert (forecasts.values[origin - forecasts.first, 1:4, MEDIAN] > 1.5 * baseline).all()


def test_the_effect_at_an_origin_is_learned_from_events_before_its_refit(forecasts: RollingForecasts) -> None:
    event, origin = an_event_after_the_split(forecasts)
    learned = forecasts.learned_effect(origin, event)
    assert learned is not None
    trained_until = forecasts.moment(forecasts.chunk(origin).since)
    assert learned.samples == sum(past.end <= trained_until for past in SERIES.context.events)
    assert learned.multiplier == pytest.approx(2.0, rel=0.2)
    assert forecasts.learned_effect(origin, KnownEvent("another", event.start, event.end)) is None


def test_forecasts_near_events_have_their_own_scores(forecasts: RollingForecasts) -> None:
    events = SERIES.context.events
    scores = near_events(forecasts, events, 4)
    targets = np.arange(forecasts.plan.split + 3, len(SERIES.values))
    assert scores.judged == is_near(SERIES, events)[targets].sum() > 0
    assert scores.wape < 0.35
    assert set(scores.coverage) == {0.5, 0.8, 0.9, 0.95}
    assert near_events(forecasts, (), 4).judged == 0


def test_bins_are_near_an_event_from_half_an_hour_before_to_forty_minutes_after() -> None:
    start = SERIES.start + timedelta(days=1)
    event = KnownEvent("sale", start, start + TWO_HOURS)
    near_bins = np.flatnonzero(is_near(SERIES, (event,)))
    middles = [SERIES.start + (bin_ + 0.5) * SERIES.step for bin_ in (int(near_bins[0]), int(near_bins[-1]))]
    assert start - BEFORE <= middles[0] < start - BEFORE + SERIES.step
    assert start + TWO_HOURS + AFTER - SERIES.step <= middles[1] < start + TWO_HOURS + AFTER


def test_known_events_have_the_type_the_time_and_the_multiplier_of_each_occurrence() -> None:
    plain = an_event(start=NOON, end=NOON + TWO_HOURS, type="flash-sale", expect={"multiplier": "2.5"})
    daily = {"rrule": "FREQ=DAILY", "timezone": "UTC", "from": f"{NOON:%F}", "start": "18:00", "duration": "1h"}
    repeated = an_event("evening", recurrence=daily, type="show")
    events = known_events([plain, repeated], NOON, NOON + timedelta(days=2))
    assert events[0] == KnownEvent("flash-sale", NOON, NOON + TWO_HOURS, 2.5)
    assert [(event.type, event.magnitude) for event in events[1:]] == [("show", None)] * 2
