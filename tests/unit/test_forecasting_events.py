"""What known events did, and what the next one will do."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.context import Context, KnownEvent
from forecasting.events import EventLayer, learn_effects
from forecasting.events.amplitude import Measured, expected, learned_effect
from forecasting.events.bands import Bands
from forecasting.events.course import Course
from forecasting.events.effects import Effects, TypeEffect
from forecasting.forecast import QUANTILES
from forecasting.models.lightgbm_quantiles import EVENTS, LightGBMQuantiles
from forecasting.panel import Origins, Panel
from forecasting.series import Series
from forecasting.walk_forward import before
from tests.support.demand_series import a_series
from tests.support.event_series import TWO_HOURS, with_events

HOUR = 3600.0
QUICK = LightGBMQuantiles(rounds=20, rows=4000)


def events(*amplitudes: float, weekend: bool = False, magnitude: float | None = None) -> tuple[Measured, ...]:
    """A day apart."""
    days = [24 * HOUR * day for day in range(len(amplitudes))]
    return tuple(
        Measured(day, day + HOUR, size, weekend, magnitude) for day, size in zip(days, amplitudes, strict=True)
    )


def layer_of(series: Series) -> EventLayer:
    found = learn_effects(series)
    assert found is not None
    return EventLayer(found)


@pytest.mark.parametrize("factor", [3.0, 2.0, 0.5])
def test_events_are_measured_against_hours_without_them(factor: float) -> None:
    series = with_events(factor=factor)
    effects = layer_of(series).effects
    (known,) = effects.types
    sizes = [one.amplitude for one in known.measured]
    assert len(sizes) == len(series.context.events)
    assert np.exp(sizes) == pytest.approx([factor] * len(sizes), rel=0.2)
    learned = effects.learned(series.context.events[-1], series.context.zone)
    assert learned is not None
    assert learned.samples == len(sizes)
    assert learned.multiplier == pytest.approx(factor, rel=0.15)
    assert learned.low < learned.multiplier < learned.high


def test_an_event_to_come_is_forecast_with_what_earlier_ones_did() -> None:
    series = with_events()
    cut = len(series.values) - 4 * 48
    told = QUICK.fit(before(series, cut))
    untold = QUICK.fit(replace(before(series, cut), context=Context()))
    coming = next(event for event in series.context.events if event.start > before(series, cut).end)
    origin = (coming.start - series.start) // series.step - 4
    panel, origins, ahead = Panel.of([series]), Origins.of_one(np.array([origin])), np.arange(1, 13)
    during = slice(5, 11)
    actual = series.values[origin:][: len(ahead)][during]
    with_it, without = (model.quantiles(panel, origins, ahead)[0, during] for model in (told, untold))
    median = QUANTILES.index(0.5)
    assert with_it[:, median] == pytest.approx(actual, rel=0.3)
    assert (without[:, median] < 0.75 * actual).all()


def test_demand_without_the_effects_shows_no_event() -> None:
    series = with_events()
    calm = layer_of(series).quiet(series)
    plain = a_series(16, noise=0.05)
    late = slice(len(plain.values) // 2, None)
    assert np.mean(np.abs(calm.values[late] / plain.values[late] - 1)) < 0.05


def test_an_event_that_takes_nearly_all_away_leaves_nothing_to_learn_from() -> None:
    series = with_events(factor=0.02)
    calm = layer_of(series).quiet(series).values
    during = [(event.start - series.start) // series.step + 2 for event in series.context.events[3:]]
    assert np.isnan(calm[during]).all()
    assert np.isfinite(calm).mean() > 0.9


def test_a_single_event_is_not_believed_in_full() -> None:
    (once, often) = (expected(events(*[1.0] * count), weekend=False, magnitude=None) for count in (1, 10))
    assert once is not None
    assert often is not None
    assert 0.5 < once < 0.8
    assert often == pytest.approx(1.0, abs=0.1)
    assert expected((), weekend=False, magnitude=None) is None


def test_recent_events_count_most_when_their_size_changes() -> None:
    grown = expected(events(*[0.5] * 10, *[1.5] * 6), weekend=False, magnitude=None)
    assert grown == pytest.approx(1.5, abs=0.25)


def test_weekends_are_told_apart() -> None:
    week = (*events(1.5, 1.5, 1.5, 1.5, 1.5), *events(0.5, 0.5, weekend=True))
    ordered = tuple(replace(one, start=at * 24 * HOUR, end=at * 24 * HOUR + HOUR) for at, one in enumerate(week * 3))
    working, resting = (expected(ordered, weekend, None) for weekend in (False, True))
    assert working == pytest.approx(1.5, abs=0.3)
    assert resting == pytest.approx(0.5, abs=0.3)


def test_a_larger_declared_multiplier_means_a_larger_effect_than_the_type_had() -> None:
    known = events(0.7, 0.7, 0.7, 0.7, magnitude=2.0)
    usual, larger, unsaid = (expected(known, weekend=False, magnitude=said) for said in (2.0, 4.0, None))
    assert usual is not None
    assert larger == pytest.approx(2 * usual)
    assert unsaid == pytest.approx(usual)


def test_effects_that_vary_are_told_with_a_wider_range() -> None:
    steady, varied = (
        learned_effect(events(*sizes), weekend=False) for sizes in ([1.0] * 8, [0.4, 1.6, 0.5, 1.5, 0.4, 1.6, 0.5, 1.5])
    )
    assert steady is not None
    assert varied is not None
    assert varied.high / varied.low > 1.5 * steady.high / steady.low


def test_events_that_are_always_on_teach_nothing() -> None:
    plain = a_series(8)
    always = tuple(
        KnownEvent("shift", plain.start + day * timedelta(hours=8), plain.start + (day + 1) * timedelta(hours=8))
        for day in range(24)
    )
    assert learn_effects(replace(plain, context=Context(events=always))) is None


def test_events_are_of_the_weekend_by_the_clocks_of_the_zone() -> None:
    plain = a_series(8)
    friday_evening = plain.start + timedelta(days=4, hours=20)
    event = KnownEvent("show", friday_evening, friday_evening + TWO_HOURS)
    zones = [Context(ZoneInfo(name), events=(event,)) for name in ("Europe/Paris", "Asia/Tokyo")]
    found = [layer_of(replace(plain, context=context)).effects.types[0].measured[0].weekend for context in zones]
    assert found == [False, True]


def test_bands_near_events_widen_with_the_change_of_the_effect_and_with_the_horizon() -> None:
    choice = np.random.default_rng(1)
    minutes, change = choice.choice([5.0, 60.0], 4000), choice.choice([0.0, 1.0], 4000)
    errors = choice.normal(size=4000) * np.sqrt(0.01 * minutes / 60 + 0.09 * change**2)
    bands = Bands.learned(errors, minutes, change, np.arange(4000) // 400)
    assert bands is not None
    for ahead, moved in ((5.0, 0.0), (60.0, 0.0), (60.0, 1.0)):
        wide = np.sqrt(0.01 * ahead / 60 + 0.09 * moved)
        (found,) = bands.around(np.array([100.0]), np.array([ahead]), np.array([moved]))
        assert np.log(found[QUANTILES.index(0.9)] / 100) == pytest.approx(1.28 * wide, rel=0.35)
    assert Bands.learned(errors[:5], minutes[:5], change[:5], np.arange(5)) is None


def test_what_was_learned_of_events_goes_into_the_models_files_and_comes_back() -> None:
    series = with_events(8)
    model = LightGBMQuantiles(rounds=3, rows=1000).fit(series)
    texts = model.texts()
    again = type(model).from_texts(texts, model.columns, "v")
    assert again.events == model.events
    assert np.array_equal(again.forecast(series, 12).values, model.forecast(series, 12).values)
    assert EVENTS in texts


def _altered(text: str, **changes: object) -> str:
    return json.dumps(json.loads(text) | changes)


def test_overlapping_events_count_once_within_a_type_and_both_across_types() -> None:
    course = Course.blank(2 * HOUR, 900.0)
    effects = Effects(tuple(TypeEffect(type_, course, events(*[1.0] * 12)) for type_ in ("match", "sale")))
    start = datetime(2026, 11, 3, 12, tzinfo=UTC)

    def effect(*types: str) -> float:
        known = tuple(KnownEvent(type_, start, start + TWO_HOURS, None) for type_ in types)
        shifted = tuple(replace(one, end=one.end + at * timedelta(minutes=1)) for at, one in enumerate(known))
        line = effects.timeline(start.timestamp(), 900.0, 4, Context(events=shifted))
        return float(line.effect[-1])

    assert effect("match", "match") == pytest.approx(effect("match"), rel=0.02)
    assert effect("match", "sale") == pytest.approx(2 * effect("match"), rel=0.02)


def test_text_that_no_learning_wrote_is_refused() -> None:
    good = layer_of(with_events(8)).text()
    (one,) = json.loads(good)["types"]
    course = one["course"]
    measured = one["measured"][0]
    bad = [
        "[]",
        "{}",
        "{",
        _altered(good, types=3),
        _altered(good, types=[{**one, "course": {**course, "shape": course["shape"][1:]}}]),
        _altered(good, types=[{**one, "course": {**course, "typical": 1e300}}]),
        _altered(good, types=[{**one, "measured": [{**measured, "amplitude": 99}]}]),
        _altered(good, types=[{**one, "measured": [{**measured, "amplitude": "1"}]}]),
        _altered(good, types=[{**one, "measured": [{"start": 1}]}]),
        _altered(good, bands={"hour": 1, "change": 1, "scores": [3, 2, 1, 0, -1], "samples": 9}),
    ]
    assert EventLayer.from_text(good).text() == good
    for text in bad:
        with pytest.raises(ValueError, match=r"."):
            EventLayer.from_text(text)
