"""The current forecast of a policy: the fallback chain, and the baselines that events multiply."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from forecasting.context import Context, KnownEvent
from forecasting.events.amplitude import MeasuredEvent
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
from tests.support.in_memory_ports import ConstantDemand, FixedForecaster

MINUTE = timedelta(minutes=1)
LEAD = timedelta(minutes=8)


class Scene:
    """A policy, its demand and its forecaster."""

    def __init__(
        self,
        policy: ScalingPolicy | None = None,
        demand_until: datetime = NOON + timedelta(days=1),
        effects: EffectsOf = nothing_learned,
    ) -> None:
        self.policy = policy or a_policy(forecast={"horizon": "1h"})
        self.source = ConstantDemand(880.0, demand_until)
        self.window = DemandWindow(self.source)
        self.forecaster = FixedForecaster(900.0)
        self.forecasts = ForecastProvider(
            self.forecaster, self.window, refresh=MINUTE, metrics_max_age=5 * MINUTE, effects=effects
        )
        self.events: tuple[BusinessEvent, ...] = ()

    def requirement(self, now: datetime) -> ForecastRequirement:
        expansions = [expand(event, now - LOOK_BACK, now + LOOK_AHEAD) for event in self.events]
        upcoming = [window for expansion in expansions for window in upcoming_occurrences(expansion, now)]
        event_occurrences = [occurrences for event in expansions if (occurrences := known_occurrences(event, now))]
        active = active_occurrences(self.policy, upcoming, now, LEAD, MINUTE)
        return ForecastRequirement(self.policy, LEAD, active, known_events_for(self.policy, event_occurrences))

    async def refresh(self, now: datetime) -> int:
        requirement = self.requirement(now)
        await self.window.advance([requirement.series], now)
        return len(await self.forecasts.refresh(self.forecasts.due([requirement], now), now))

    def source_of_forecast(self, now: datetime) -> ForecastSource | None:
        current_forecast = self.forecasts.current(self.requirement(now), now)
        return current_forecast.source if current_forecast else None


async def test_a_forecast_is_made_once_per_interval() -> None:
    scene = Scene()
    assert [await scene.refresh(NOON + seconds * timedelta(seconds=20)) for seconds in range(5)] == [1, 0, 0, 1, 0]


async def test_a_forecast_reaches_beyond_the_lead_time_and_the_horizon() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    current_forecast = scene.forecasts.current(scene.requirement(NOON), NOON)
    assert current_forecast is not None
    end = current_forecast.forecast.origin + current_forecast.forecast.step * len(current_forecast.forecast.values)
    assert end >= NOON + timedelta(hours=1)
    assert current_forecast.valid_until == end - LEAD - 5 * MINUTE


@pytest.mark.parametrize(("refresh", "margin"), [(1, 5), (5, 5), (10, 10)])
async def test_floors_look_ahead_until_the_next_forecast_and_at_least_one_bin(refresh: int, margin: int) -> None:
    scene = Scene()
    forecasts = ForecastProvider(scene.forecaster, scene.window, refresh=refresh * MINUTE, metrics_max_age=5 * MINUTE)
    assert forecasts.margin == margin * MINUTE


async def test_forecasts_use_the_time_zone_and_holidays_of_the_policy() -> None:
    for spec, context in (
        ({}, Context()),
        ({"timezone": "Europe/Paris", "holidays": "FR"}, Context(ZoneInfo("Europe/Paris"), "FR")),
    ):
        scene = Scene(a_policy(forecast={"horizon": "1h", **spec}))
        await scene.refresh(NOON)
        assert [request.series.context for batch in scene.forecaster.batches for request in batch] == [context]


async def test_without_new_demand_the_last_forecast_then_last_week_is_used() -> None:
    scene = Scene(demand_until=NOON)
    await scene.refresh(NOON)
    assert scene.source_of_forecast(NOON + MINUTE) is ForecastSource.FRESH
    for minutes in range(1, 90):
        await scene.refresh(NOON + minutes * MINUTE)
    assert scene.source_of_forecast(NOON + 20 * MINUTE) is ForecastSource.LAST
    assert scene.source_of_forecast(NOON + 80 * MINUTE) is ForecastSource.LAST_WEEK


async def test_gaps_of_last_week_are_filled_with_its_highest_demand() -> None:
    scene = Scene(demand_until=NOON - timedelta(days=7) + 30 * MINUTE)
    await scene.refresh(NOON)
    current_forecast = scene.forecasts.current(scene.requirement(NOON), NOON)
    assert current_forecast is not None
    assert current_forecast.source is ForecastSource.LAST_WEEK
    assert current_forecast.forecast.values.min() == 880.0


async def test_without_data_there_is_no_current_forecast() -> None:
    scene = Scene(demand_until=NOON - timedelta(days=30))
    await scene.refresh(NOON)
    assert scene.source_of_forecast(NOON) is None
    assert scene.forecaster.batches == []


async def test_a_changed_series_is_forecast_at_once() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    scene.policy = a_policy(demand={"service": "another"})
    assert scene.source_of_forecast(NOON) is None
    assert await scene.refresh(NOON + timedelta(seconds=15)) == 1
    assert scene.source_of_forecast(NOON + timedelta(seconds=15)) is ForecastSource.FRESH


async def test_the_baseline_of_an_event_uses_no_data_from_after_the_event_began_to_act() -> None:
    scene = Scene()
    start = NOON + timedelta(minutes=30)
    scene.events = (an_event(start=start, end=start + timedelta(hours=1), rampUp="15m", expect={"multiplier": "3"}),)
    for minutes in range(60):
        await scene.refresh(NOON + minutes * MINUTE)
    now = NOON + 59 * MINUTE
    (baseline,) = scene.forecasts.baselines(scene.requirement(now), now)
    assert baseline.baseline_forecast is not None
    assert baseline.baseline_forecast.origin == start - timedelta(minutes=15) - LEAD
    end = baseline.baseline_forecast.origin + baseline.baseline_forecast.step * len(baseline.baseline_forecast.values)
    assert end >= start + timedelta(hours=1)


async def test_a_baseline_is_pending_until_its_first_forecast_was_attempted() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    scene.events = (an_event(start=NOON, end=NOON + timedelta(hours=1), expect={"multiplier": "3"}),)
    (before,) = scene.forecasts.baselines(scene.requirement(NOON), NOON)
    assert before.is_pending
    await scene.refresh(NOON)
    (after,) = scene.forecasts.baselines(scene.requirement(NOON), NOON)
    assert not after.is_pending
    assert after.baseline_forecast is not None


async def test_a_baseline_that_cannot_be_forecast_is_not_pending_for_ever() -> None:
    scene = Scene(demand_until=NOON - timedelta(days=30))
    scene.events = (an_event(start=NOON, end=NOON + timedelta(hours=1), expect={"multiplier": "3"}),)
    await scene.refresh(NOON)
    (baseline,) = scene.forecasts.baselines(scene.requirement(NOON), NOON)
    assert (baseline.baseline_forecast, baseline.is_pending) == (None, False)


async def test_forecasts_include_the_events_and_baselines_exclude_them() -> None:
    effects = Effects((TypeEffect("flash-sale", Course.default(3600, 300), (MeasuredEvent(0, 3600, 1.0),)),))
    scene = Scene(effects=lambda key: effects)
    start = NOON + timedelta(minutes=30)
    scene.events = (an_event(start=start, end=start + timedelta(hours=1), type="flash-sale"),)
    known = KnownEvent("flash-sale", start, start + timedelta(hours=1))
    await scene.refresh(start - LEAD - MINUTE / 2)
    assert sorted(len(request.series.context.events) for request in scene.forecaster.batches[-1]) == [0, 1]
    await scene.refresh(start)
    assert {request.series.context.events for batch in scene.forecaster.batches for request in batch} == {(), (known,)}
    (baseline,) = scene.forecasts.baselines(scene.requirement(start), start)
    assert baseline.learned is not None
    assert baseline.learned.samples == 1


async def test_a_long_event_has_a_baseline_of_wider_bins() -> None:
    scene = Scene()
    scene.events = (an_event(start=NOON, end=NOON + timedelta(hours=12), expect={"multiplier": "2"}),)
    await scene.refresh(NOON)
    (baseline,) = scene.forecasts.baselines(scene.requirement(NOON), NOON)
    assert baseline.baseline_forecast is not None
    assert baseline.baseline_forecast.step == timedelta(hours=1)


@pytest.mark.parametrize(("minutes", "known"), [(10, 0), (22, 1), (150, 0)])
async def test_an_event_is_active_from_a_lead_time_before_its_ramp_until_its_end(minutes: int, known: int) -> None:
    scene = Scene()
    start = NOON + timedelta(minutes=45)
    scene.events = (an_event(start=start, end=start + timedelta(hours=1), rampUp="15m"),)
    now = NOON + minutes * MINUTE
    assert len(scene.forecasts.baselines(scene.requirement(now), now)) == known


async def test_forecasts_of_deleted_policies_are_forgotten() -> None:
    scene = Scene()
    await scene.refresh(NOON)
    scene.forecasts.forget(set(), NOON)
    assert scene.forecasts.due([scene.requirement(NOON)], NOON) != []


class FailingForOneService(FixedForecaster):
    """Fails for every batch that contains the service `odd`."""

    def forecast(self, requests: Mapping[Any, ForecastRequest]) -> dict[Any, Forecast]:
        if any(request.key.service == "odd" for request in requests.values()):
            raise FloatingPointError("overflow encountered in exp")
        return super().forecast(requests)


async def test_a_failing_series_does_not_prevent_the_forecasts_of_others() -> None:
    scene = Scene()
    scene.forecasts = ForecastProvider(
        FailingForOneService(900.0), scene.window, refresh=MINUTE, metrics_max_age=5 * MINUTE
    )
    services = ["a", "b", "odd", "c", "d"]
    requirements = [
        ForecastRequirement(named(a_policy(demand={"service": service}), service), LEAD) for service in services
    ]
    await scene.window.advance([requirement.series for requirement in requirements], NOON)
    with capture_logs() as logs:
        results = await scene.forecasts.refresh(requirements, NOON)
    assert sorted(result.requirement.key.name for result in results) == ["a", "b", "c", "d"]
    assert [log["series"] for log in logs if log["event"] == "forecast_failed"] == [str(requirements[2].series)]


async def test_a_policy_with_unusable_events_does_not_prevent_the_forecasts_of_others() -> None:
    scene = Scene()
    broken = ForecastRequirement(named(a_policy(), "broken"), LEAD, known=None)  # pyright: ignore[reportArgumentType]
    requirements = [broken, ForecastRequirement(named(a_policy(), "sound"), LEAD)]
    await scene.window.advance([requirement.series for requirement in requirements], NOON)
    with capture_logs() as logs:
        results = await scene.forecasts.refresh(requirements, NOON)
    assert [result.requirement.key.name for result in results] == ["sound"]
    assert [log["policy"] for log in logs if log["event"] == "forecast_not_requested"] == ["shop/broken"]


def named(policy: ScalingPolicy, name: str) -> ScalingPolicy:
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update={"name": name})})
