"""The outlook of a policy: down the freshness ladder, and the bases that events multiply."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from forecasting.context import Context, KnownEvent
from forecasting.events.amplitude import Measured
from forecasting.events.course import Course
from forecasting.events.effects import Effects, TypeEffect
from forecasting.forecast import Forecast
from predictive_scaling.control.current_forecasts import (
    EffectsOf,
    ForecastProvider,
    ForecastRequirement,
    nothing_learned,
)
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.decision.events.active_occurrences import (
    LOOK_AHEAD,
    LOOK_BACK,
    active_occurrences,
    known_events_for,
    known_occurrences,
    upcoming_occurrences,
)
from predictive_scaling.decision.events.occurrences import expand
from predictive_scaling.decision.inputs import ForecastSource
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.serving.model_store import ForecastRequest
from tests.support.builders import NOON, a_policy, an_event
from tests.support.control import Minutes, Prophet

MINUTE = timedelta(minutes=1)
LEAD = timedelta(minutes=8)


class Scene:
    """One policy, its demand and its forecaster."""

    def __init__(
        self,
        policy: ScalingPolicy | None = None,
        demand_until: datetime = NOON + timedelta(days=1),
        effects: EffectsOf = nothing_learned,
    ) -> None:
        self.policy = policy or a_policy(forecast={"horizon": "1h"})
        self.source = Minutes(880.0, demand_until)
        self.window = DemandWindow(self.source)
        self.prophet = Prophet(900.0)
        limits = {"refresh": MINUTE, "metrics_max_age": 5 * MINUTE}
        self.forecasts = ForecastProvider(self.prophet, self.window, **limits, effects=effects)
        self.events: tuple[BusinessEvent, ...] = ()

    def need(self, now: datetime) -> ForecastRequirement:
        expansions = [expand(event, now - LOOK_BACK, now + LOOK_AHEAD) for event in self.events]
        upcoming = [window for expansion in expansions for window in upcoming_occurrences(expansion, now)]
        known = [found for event in expansions if (found := known_occurrences(event, now))]
        concerns = active_occurrences(self.policy, upcoming, now, LEAD, MINUTE)
        return ForecastRequirement(self.policy, LEAD, concerns, known_events_for(self.policy, known))

    async def refresh(self, now: datetime) -> int:
        need = self.need(now)
        await self.window.advance([need.series], now)
        return len(await self.forecasts.refresh(self.forecasts.due([need], now), now))

    def rung(self, now: datetime) -> ForecastSource | None:
        current_forecast = self.forecasts.current(self.need(now), now)
        return current_forecast.source if current_forecast else None


async def test_a_forecast_is_made_once_in_each_interval() -> None:
    scene = Scene()
    assert [await scene.refresh(NOON + seconds * timedelta(seconds=20)) for seconds in range(5)] == [1, 0, 0, 1, 0]


async def test_a_forecast_reaches_beyond_the_lead_time_and_the_horizon() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    current_forecast = scene.forecasts.current(scene.need(NOON), NOON)
    assert current_forecast is not None
    end = current_forecast.forecast.origin + current_forecast.forecast.step * len(current_forecast.forecast.values)
    assert end >= NOON + timedelta(hours=1)
    assert current_forecast.valid_until == end - LEAD - MINUTE


async def test_forecasts_are_made_by_the_clocks_and_holidays_of_the_policy() -> None:
    for spec, context in (
        ({}, Context()),
        ({"timezone": "Europe/Paris", "holidays": "FR"}, Context(ZoneInfo("Europe/Paris"), "FR")),
    ):
        scene = Scene(a_policy(forecast={"horizon": "1h", **spec}))
        await scene.refresh(NOON)
        assert [one.series.context for batch in scene.prophet.batches for one in batch] == [context]


async def test_without_new_demand_the_last_forecast_serves_until_it_expires_then_last_week() -> None:
    scene = Scene(demand_until=NOON)
    await scene.refresh(NOON)
    assert scene.rung(NOON + MINUTE) is ForecastSource.FRESH
    for minutes in range(1, 90):
        await scene.refresh(NOON + minutes * MINUTE)
    assert scene.rung(NOON + 20 * MINUTE) is ForecastSource.LAST
    assert scene.rung(NOON + 80 * MINUTE) is ForecastSource.LAST_WEEK


async def test_last_weeks_gaps_are_filled_with_its_highest_demand() -> None:
    scene = Scene(demand_until=NOON - timedelta(days=7) + 30 * MINUTE)
    await scene.refresh(NOON)
    current_forecast = scene.forecasts.current(scene.need(NOON), NOON)
    assert current_forecast is not None
    assert current_forecast.source is ForecastSource.LAST_WEEK
    assert current_forecast.forecast.values.min() == 880.0


async def test_without_any_data_there_is_no_outlook() -> None:
    scene = Scene(demand_until=NOON - timedelta(days=30))
    await scene.refresh(NOON)
    assert scene.rung(NOON) is None
    assert scene.prophet.batches == []


async def test_a_changed_series_is_forecast_at_once() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    scene.policy = a_policy(demand={"service": "another"})
    assert scene.rung(NOON) is None
    assert await scene.refresh(NOON + timedelta(seconds=15)) == 1
    assert scene.rung(NOON + timedelta(seconds=15)) is ForecastSource.FRESH


async def test_the_base_of_an_event_has_seen_nothing_from_after_its_influence_began() -> None:
    scene = Scene()
    start = NOON + timedelta(minutes=30)
    scene.events = (an_event(start=start, end=start + timedelta(hours=1), rampUp="15m", expect={"multiplier": "3"}),)
    for minutes in range(60):
        await scene.refresh(NOON + minutes * MINUTE)
    now = NOON + 59 * MINUTE
    (base,) = scene.forecasts.baselines(scene.need(now), now)
    assert base.baseline_forecast is not None
    assert base.baseline_forecast.origin == start - timedelta(minutes=15) - LEAD
    end = base.baseline_forecast.origin + base.baseline_forecast.step * len(base.baseline_forecast.values)
    assert end >= start + timedelta(hours=1)


async def test_forecasts_know_the_events_and_what_they_are_multiplied_with_does_not() -> None:
    effects = Effects((TypeEffect("flash-sale", Course.blank(3600, 300), (Measured(0, 3600, 1.0),)),))
    scene = Scene(effects=lambda key: effects)
    start = NOON + timedelta(minutes=30)
    scene.events = (an_event(start=start, end=start + timedelta(hours=1), type="flash-sale"),)
    known = KnownEvent("flash-sale", start, start + timedelta(hours=1))
    await scene.refresh(start - LEAD - MINUTE / 2)
    assert sorted(len(batch.series.context.events) for batch in scene.prophet.batches[-1]) == [0, 1]
    await scene.refresh(start)
    assert {one.series.context.events for batch in scene.prophet.batches for one in batch} == {(), (known,)}
    (base,) = scene.forecasts.baselines(scene.need(start), start)
    assert base.learned is not None
    assert base.learned.samples == 1


async def test_a_long_event_gets_a_base_of_wider_bins() -> None:
    scene = Scene()
    scene.events = (an_event(start=NOON, end=NOON + timedelta(hours=12), expect={"multiplier": "2"}),)
    await scene.refresh(NOON)
    (base,) = scene.forecasts.baselines(scene.need(NOON), NOON)
    assert base.baseline_forecast is not None
    assert base.baseline_forecast.step == timedelta(hours=1)


@pytest.mark.parametrize(("minutes", "known"), [(10, 0), (22, 1), (150, 0)])
async def test_an_event_concerns_a_policy_from_a_lead_time_before_its_ramp_until_it_is_over(
    minutes: int, known: int
) -> None:
    scene = Scene()
    start = NOON + timedelta(minutes=45)
    scene.events = (an_event(start=start, end=start + timedelta(hours=1), rampUp="15m"),)
    now = NOON + minutes * MINUTE
    assert len(scene.forecasts.baselines(scene.need(now), now)) == known


async def test_what_is_gone_is_forgotten() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    scene.forecasts.forget(set(), NOON)
    assert scene.forecasts.due([scene.need(NOON)], NOON) != []


class Choosy(Prophet):
    """Cannot forecast one service, nor any batch that it is in."""

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        if any(one.key.service == "odd" for one in requests.values()):
            raise FloatingPointError("overflow encountered in exp")
        return super().forecast(requests)


async def test_a_series_that_cannot_be_forecast_costs_no_other_its_forecast() -> None:
    scene = Scene()
    scene.forecasts = ForecastProvider(Choosy(900.0), scene.window, refresh=MINUTE, metrics_max_age=5 * MINUTE)
    services = ["a", "b", "odd", "c", "d"]
    needs = [ForecastRequirement(named(a_policy(demand={"service": service}), service), LEAD) for service in services]
    await scene.window.advance([need.series for need in needs], NOON)
    with capture_logs() as logs:
        made = await scene.forecasts.refresh(needs, NOON)
    assert sorted(one.need.key.name for one in made) == ["a", "b", "c", "d"]
    assert [log["series"] for log in logs if log["event"] == "forecast_failed"] == [str(needs[2].series)]


async def test_a_policy_whose_events_cannot_be_used_costs_no_other_its_forecast() -> None:
    scene = Scene()
    broken = ForecastRequirement(named(a_policy(), "broken"), LEAD, known=None)  # pyright: ignore[reportArgumentType]
    needs = [broken, ForecastRequirement(named(a_policy(), "sound"), LEAD)]
    await scene.window.advance([need.series for need in needs], NOON)
    with capture_logs() as logs:
        made = await scene.forecasts.refresh(needs, NOON)
    assert [one.need.key.name for one in made] == ["sound"]
    assert [log["policy"] for log in logs if log["event"] == "forecast_not_requested"] == ["shop/broken"]


def named(policy: ScalingPolicy, name: str) -> ScalingPolicy:
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"name": name})})
