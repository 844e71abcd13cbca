"""Effects of past events, and forecasts of the next occurrence."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.context import Context, KnownEvent
from forecasting.events import EventLayer, learn_effects
from forecasting.events.amplitude import MeasuredEvent, Traits, expected_amplitude, learned_effect
from forecasting.events.bands import Bands
from forecasting.events.course import Course
from forecasting.events.effects import Effects, TypeEffect
from forecasting.forecast import QUANTILES
from forecasting.models.lightgbm_quantiles import EVENTS, LightGBMQuantiles
from forecasting.panel import Origins, Panel
from forecasting.series import Series
from forecasting.walk_forward import before
from tests.support.demand_series import TWO_HOURS, a_series, with_events

HOUR = 3600.0
FAST_MODEL = LightGBMQuantiles(rounds=20, rows=4000, peak_rows=2000, peak_rounds=15)


def events(*amplitudes: float, weekend: bool = False, magnitude: float | None = None) -> tuple[MeasuredEvent, ...]:
    """Measured events of these amplitudes, a day apart."""
    days = [24 * HOUR * day for day in range(len(amplitudes))]
    return tuple(
        MeasuredEvent(day, day + HOUR, size, Traits(weekend, 0.0, magnitude))
        for day, size in zip(days, amplitudes, strict=True)
    )


def layer_of(series: Series) -> EventLayer:
    effects = learn_effects(series)
    assert effects is not None
    return EventLayer(effects)


@pytest.mark.parametrize("factor", [3.0, 2.0, 0.5])
def test_event_amplitudes_are_relative_to_hours_without_events(factor: float) -> None:
    series = with_events(factor=factor)
    effects = layer_of(series).effects
    (event_type,) = effects.types
    sizes = [event.amplitude for event in event_type.measured]
    assert len(sizes) == len(series.context.events)
    assert np.exp(sizes) == pytest.approx([factor] * len(sizes), rel=0.2)
    learned = effects.learned_effect(series.context.events[-1], series.context.zone)
    assert learned is not None
    assert learned.samples == len(sizes)
    assert learned.multiplier == pytest.approx(factor, rel=0.15)
    assert learned.low < learned.multiplier < learned.high


def test_an_upcoming_event_is_forecast_from_the_effects_of_earlier_events() -> None:
    series = with_events()
    cut = len(series.values) - 4 * 48
    with_events_model = FAST_MODEL.fit(before(series, cut))
    without_events_model = FAST_MODEL.fit(replace(before(series, cut), context=Context()))
    upcoming = next(event for event in series.context.events if event.start > before(series, cut).end)
    origin = (upcoming.start - series.start) // series.step - 4
    panel, origins, ahead = Panel.of([series]), Origins.of_single_series(np.array([origin])), np.arange(1, 13)
    during = slice(5, 11)
    actual = series.values[origin:][: len(ahead)][during]
    with_events_forecast, without_events_forecast = (
        model.quantiles(panel, origins, ahead)[0, during] for model in (with_events_model, without_events_model)
    )
    median = QUANTILES.index(0.5)
    assert with_events_forecast[:, median] == pytest.approx(actual, rel=0.3)
    assert (without_events_forecast[:, median] < 0.75 * actual).all()


def test_removing_the_effects_leaves_plain_demand() -> None:
    series = with_events()
    calm = layer_of(series).without_events(series)
    plain = a_series(16, noise=0.05)
    late = slice(len(plain.values) // 2, None)
    assert np.mean(np.abs(calm.values[late] / plain.values[late] - 1)) < 0.05


def test_bins_of_an_event_that_removes_nearly_all_demand_are_gaps() -> None:
    series = with_events(factor=0.02)
    calm = layer_of(series).without_events(series).values
    during = [(event.start - series.start) // series.step + 2 for event in series.context.events[3:]]
    assert np.isnan(calm[during]).all()
    assert np.isfinite(calm).mean() > 0.9


def test_the_effect_of_a_single_event_is_shrunk() -> None:
    (one_event, ten_events) = (expected_amplitude(events(*[1.0] * count), Traits()) for count in (1, 10))
    assert one_event is not None
    assert ten_events is not None
    assert 0.5 < one_event < 0.8
    assert ten_events == pytest.approx(1.0, abs=0.1)
    assert expected_amplitude((), Traits()) is None


def test_recent_events_weigh_most_when_amplitudes_change() -> None:
    recent_size = expected_amplitude(events(*[0.5] * 10, *[1.5] * 6), Traits())
    assert recent_size == pytest.approx(1.5, abs=0.25)


def test_weekend_events_have_their_own_effect() -> None:
    week = (*events(1.5, 1.5, 1.5, 1.5, 1.5), *events(0.5, 0.5, weekend=True))
    ordered = tuple(
        replace(event, start=day * 24 * HOUR, end=day * 24 * HOUR + HOUR) for day, event in enumerate(week * 3)
    )
    weekday_size, weekend_size = (expected_amplitude(ordered, Traits(weekend)) for weekend in (False, True))
    assert weekday_size == pytest.approx(1.5, abs=0.3)
    assert weekend_size == pytest.approx(0.5, abs=0.3)


def at_hour(event: MeasuredEvent, day: int, hour: float, amplitude: float) -> MeasuredEvent:
    start = (24 * day + hour) * HOUR
    return replace(event, start=start, end=start + HOUR, amplitude=amplitude, traits=Traits(hour=hour))


def test_events_at_other_hours_of_the_day_have_another_effect() -> None:
    (event,) = events(1.0)
    by_hour = {14.5: 1.6, 21.0: 0.6}
    season = tuple(at_hour(event, day, hour, by_hour[hour]) for day in range(8) for hour in by_hour)
    afternoon, evening, near_evening, unknown = (
        expected_amplitude(season, Traits(hour=hour)) for hour in (14.5, 21.0, 20.5, None)
    )
    assert afternoon == pytest.approx(1.6, abs=0.25)
    assert evening == pytest.approx(0.6, abs=0.25)
    assert near_evening == pytest.approx(evening, abs=0.1)
    assert unknown == pytest.approx(1.1, abs=0.25)


def test_hours_without_a_difference_change_nothing() -> None:
    (event,) = events(1.0)
    sizes = (1.2, 0.8, 1.1, 0.9, 0.8, 1.2, 1.1, 0.9, 1.2, 0.8, 0.9, 1.1)
    season = tuple(at_hour(event, day, 8.0 + 6 * (day % 3), size) for day, size in enumerate(sizes))
    expected = [expected_amplitude(season, Traits(hour=hour)) for hour in (8.0, 14.0, 20.0, None)]
    assert expected == pytest.approx([expected[-1]] * 4, abs=0.12)


def test_a_larger_declared_multiplier_scales_the_learned_effect() -> None:
    known = events(0.7, 0.7, 0.7, 0.7, magnitude=2.0)
    usual, larger, undeclared = (
        expected_amplitude(known, Traits(magnitude=magnitude)) for magnitude in (2.0, 4.0, None)
    )
    assert usual is not None
    assert larger == pytest.approx(2 * usual)
    assert undeclared == pytest.approx(usual)


def test_effects_that_vary_have_a_wider_range() -> None:
    steady, varied = (
        learned_effect(events(*sizes), Traits()) for sizes in ([1.0] * 8, [0.4, 1.6, 0.5, 1.5, 0.4, 1.6, 0.5, 1.5])
    )
    assert steady is not None
    assert varied is not None
    assert varied.high / varied.low > 1.5 * steady.high / steady.low


def test_events_without_a_break_have_no_learned_effect() -> None:
    plain = a_series(8)
    always = tuple(
        KnownEvent("shift", plain.start + day * timedelta(hours=8), plain.start + (day + 1) * timedelta(hours=8))
        for day in range(24)
    )
    assert learn_effects(replace(plain, context=Context(events=always))) is None


def test_the_weekend_of_an_event_is_that_of_the_time_zone() -> None:
    plain = a_series(8)
    friday_evening = plain.start + timedelta(days=4, hours=20)
    event = KnownEvent("show", friday_evening, friday_evening + TWO_HOURS)
    zones = [Context(ZoneInfo(name), events=(event,)) for name in ("Europe/Paris", "Asia/Tokyo")]
    is_weekend = [
        layer_of(replace(plain, context=context)).effects.types[0].measured[0].traits.weekend for context in zones
    ]
    assert is_weekend == [False, True]


def test_bands_near_events_widen_with_the_change_of_the_effect_and_with_the_horizon() -> None:
    random = np.random.default_rng(1)
    minutes, change = random.choice([5.0, 60.0], 4000), random.choice([0.0, 1.0], 4000)
    errors = random.normal(size=4000) * np.sqrt(0.01 * minutes / 60 + 0.09 * change**2)
    bands = Bands.fit(errors, minutes, change, np.arange(4000) // 400)
    assert bands is not None
    for ahead, effect_change in ((5.0, 0.0), (60.0, 0.0), (60.0, 1.0)):
        sigma = np.sqrt(0.01 * ahead / 60 + 0.09 * effect_change)
        (quantiles,) = bands.around(np.array([100.0]), np.array([ahead]), np.array([effect_change]))
        assert np.log(quantiles[QUANTILES.index(0.9)] / 100) == pytest.approx(1.28 * sigma, rel=0.35)
    assert Bands.fit(errors[:5], minutes[:5], change[:5], np.arange(5)) is None


def test_learned_effects_survive_the_models_files() -> None:
    series = with_events(8)
    model = LightGBMQuantiles(rounds=3, rows=1000, peak_rows=1000, peak_rounds=3).fit(series)
    texts = model.texts()
    loaded = type(model).from_texts(texts, model.columns, "v")
    assert loaded.events == model.events
    assert np.array_equal(loaded.forecast(series, 12).values, model.forecast(series, 12).values)
    assert EVENTS in texts


def _altered(text: str, **changes: object) -> str:
    return json.dumps(json.loads(text) | changes)


def test_overlapping_events_count_once_per_type_and_add_up_across_types() -> None:
    course = Course.default(2 * HOUR, 900.0)
    effects = Effects(tuple(TypeEffect(type_, course, events(*[1.0] * 12)) for type_ in ("match", "sale")))
    start = datetime(2026, 11, 3, 12, tzinfo=UTC)

    def effect(*types: str) -> float:
        known = tuple(KnownEvent(type_, start, start + TWO_HOURS, None) for type_ in types)
        shifted = tuple(
            replace(event, end=event.end + index * timedelta(minutes=1)) for index, event in enumerate(known)
        )
        line = effects.timeline(start.timestamp(), 900.0, 4, Context(events=shifted))
        return float(line.effect[-1])

    assert effect("match", "match") == pytest.approx(effect("match"), rel=0.02)
    assert effect("match", "sale") == pytest.approx(2 * effect("match"), rel=0.02)


def test_a_rush_as_events_end_is_learned() -> None:
    calm = a_series(12, timedelta(minutes=5), noise=0.02)
    known = with_events(12).context.events
    log_effect = np.zeros(len(calm.values))
    for event in known:
        begin, end = (round((at - calm.start) / calm.step) for at in (event.start, event.end))
        log_effect[begin:end] = 1.0
        # The crowd comes back for ten minutes.
        log_effect[end : end + 2] = 1.5
    series = replace(calm, values=calm.values * np.exp(log_effect), context=Context(events=known))
    (learned,) = layer_of(series).effects.types
    course, five_minutes = learned.course, 300.0
    middle, rush, after = course.share_at(course.typical + np.array([-HOUR, five_minutes, 5 * five_minutes]))
    assert middle == pytest.approx(1.0, abs=0.1)
    assert rush > 1.35
    assert after < 0.1


def test_effects_stored_by_older_versions_keep_their_course() -> None:
    layer = layer_of(with_events(8))
    (event_type,) = json.loads(layer.text())["types"]
    course = layer.effects.types[0].course
    wide = course.wide_knots
    older = {"typical": course.typical, "step": course.step, "shape": np.linspace(0.2, 1.2, len(wide)).tolist()}
    text = json.dumps({"types": [event_type | {"course": older}], "bands": None})
    loaded = EventLayer.from_text(text).effects.types[0].course
    assert loaded.share_at(wide) == pytest.approx(older["shape"], abs=0.05)


def test_invalid_stored_effects_are_refused() -> None:
    good = layer_of(with_events(8)).text()
    (event_type,) = json.loads(good)["types"]
    course = event_type["course"]
    measured = event_type["measured"][0]
    bad = [
        "[]",
        "{}",
        "{",
        _altered(good, types=3),
        _altered(good, types=[{**event_type, "course": {**course, "shape": course["shape"][1:]}}]),
        _altered(good, types=[{**event_type, "course": {**course, "typical": 1e300}}]),
        _altered(good, types=[{**event_type, "course": {**course, "knots": course["knots"][::-1]}}]),
        _altered(good, types=[{**event_type, "course": {**course, "knots": [], "shape": []}}]),
        _altered(good, types=[{**event_type, "measured": [{**measured, "amplitude": 99}]}]),
        _altered(good, types=[{**event_type, "measured": [{**measured, "amplitude": "1"}]}]),
        _altered(good, types=[{**event_type, "measured": [{"start": 1}]}]),
        _altered(good, bands={"hour": 1, "change": 1, "scores": [3, 2, 1, 0, -1], "samples": 9}),
    ]
    assert EventLayer.from_text(good).text() == good
    for text in bad:
        with pytest.raises(ValueError, match=r"."):
            EventLayer.from_text(text)
