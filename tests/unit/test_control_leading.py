"""Leading indicators of policies: judged on repeated forecasts, used while they are current, isolated from others."""

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forecasting.forecast import QUANTILES, Forecast
from forecasting.series import Series
from predictive_scaling.clock import ManualClock
from predictive_scaling.control.current_forecasts import ForecastProvider, ForecastRequirement
from predictive_scaling.control.demand_window import MINUTE, DemandWindow
from predictive_scaling.control.jobs.indicator_studies import IndicatorStudies
from predictive_scaling.control.leading_indicators import LeadingIndicators
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.statuses import RegressorStatus
from predictive_scaling.resources.vocabulary import RegressorState
from predictive_scaling.serving.model_store import ForecastRequest
from tests.support.builders import NOON
from tests.support.control import a_policy_named
from tests.support.leading import followed

DEMAND = SeriesKey("orders", "requests_per_second")
UPSTREAM = SeriesKey("gateway", "requests_per_second")
LEAD_TIME = timedelta(minutes=8)
START = NOON - timedelta(days=9)
REGRESSOR = {"service": "gateway", "metric": "requests_per_second"}


class Samples:
    """Minutes of demand that follows the gateway, and of the gateway, which can be late, stop or send garbage."""

    def __init__(self) -> None:
        scene = followed(days=10)
        self.series = {DEMAND: np.repeat(scene.demand, 5), UPSTREAM: np.repeat(scene.upstream, 5)}
        self.now = NOON
        self.delay = dict.fromkeys(self.series, timedelta())
        self.end = dict.fromkeys(self.series, NOON + timedelta(days=1))
        self.queries: list[tuple[SeriesKey, ...]] = []

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        self.queries.append(tuple(keys))
        return {key: self._of(key, since, until) for key in keys}

    def _of(self, key: SeriesKey, since: datetime, until: datetime) -> npt.NDArray[np.float64]:
        values = np.full((until - since) // MINUTE, np.nan)
        if key in self.series:
            at = (since - START) // MINUTE + np.arange(len(values))
            end = min(self.now - self.delay[key], self.end[key])
            known = (at >= 0) & (at < (end - START) // MINUTE)
            values[known] = self.series[key][at[known]]
        return values


class RecentMean:
    """Forecasts the mean of the last three bins, with a fixed band: hundreds of forecasts in a moment."""

    def forecast(self, requests: Mapping[Hashable, ForecastRequest]) -> dict[Hashable, Forecast]:
        return {name: self._one(request.series, request.steps) for name, request in requests.items()}

    def _one(self, series: Series, steps: int) -> Forecast:
        band = float(np.nanmean(series.values[-3:])) * np.array([0.8, 1.0, 1.15, 1.3, 1.5])
        bins = np.tile(band, (steps, 1))
        return Forecast(
            series.name, series.end, series.step, QUANTILES, bins, "RecentMean", "", ("level",), bins[:12, 1:]
        )


class Scene:
    """Policies on the same demand, minute by minute."""

    def __init__(self, *policies: ScalingPolicy, suggestion: str | None = None) -> None:
        self.samples, self.clock = Samples(), ManualClock(NOON)
        self.window = DemandWindow(self.samples)
        self.indicators = LeadingIndicators(self.window, lambda _namespace, _service, _metric: suggestion)
        self.models = RecentMean()
        self.forecasts = ForecastProvider(
            self.models, self.window, refresh=MINUTE, metrics_max_age=5 * MINUTE, indicators=self.indicators
        )
        self.studies = IndicatorStudies(self.models, self.indicators, self.clock, rest=0.0)
        self.requirements = [ForecastRequirement(policy, LEAD_TIME) for policy in policies]

    async def tick(self, minutes: int = 1) -> None:
        """Time passes, and forecasts are made; then at most one policy is studied."""
        self.clock.advance(minutes * MINUTE)
        now = self.samples.now = self.clock.now()
        await self.window.advance({key for one in self.requirements for key in one.read}, now)
        await self.forecasts.refresh(self.forecasts.due(self.requirements, now), now)
        await self.studies.run()

    def forecast(self, at: int = 0) -> Forecast:
        current = self.forecasts.current(self.requirements[at], self.clock.now())
        assert current is not None
        return current.forecast

    def status(self, at: int = 0) -> RegressorStatus:
        return self.indicators.statuses(self.requirements[at].policy)[0]


def a_policy(name: str = "orders", *regressors: dict[str, Any]) -> ScalingPolicy:
    demand = {"service": "orders", "metric": "requests_per_second", "perReplica": "50"}
    return a_policy_named(name, demand=demand, forecast={"horizon": "1h", "regressors": list(regressors)})


async def test_an_indicator_that_helps_is_used_until_it_stops() -> None:
    scene = Scene(a_policy("orders", REGRESSOR), a_policy("plain"))
    await scene.tick()
    assert scene.status().state is RegressorState.WAITING
    np.testing.assert_array_equal(scene.forecast(0).values, scene.forecast(1).values)
    await scene.tick()
    assert scene.status().state is RegressorState.IN_USE
    assert scene.status().runs_ahead is not None
    assert scene.status().message.startswith("improves the forecasts on the last 2 days")
    assert not np.array_equal(scene.forecast(0).values, scene.forecast(1).values)
    assert any(reason.startswith("requests_per_second of gateway ") for reason in scene.forecast(0).contributions)
    # It stops: as soon as its samples are later than they were, the forecast without it takes over.
    scene.samples.end[UPSTREAM] = scene.clock.now()
    await scene.tick()
    np.testing.assert_array_equal(scene.forecast(0).values, scene.forecast(1).values)
    assert scene.status().state is RegressorState.STALE
    await scene.tick(minutes=30)
    assert scene.status().message == "has no sample since 2026-06-17T12:02:00Z; the forecast without it is in use"
    np.testing.assert_array_equal(scene.forecast(0).values, scene.forecast(1).values)


async def test_an_indicator_is_judged_with_the_delay_of_its_samples() -> None:
    scene = Scene(a_policy("orders", REGRESSOR))
    scene.samples.delay[UPSTREAM] = timedelta(minutes=2)
    await scene.tick()
    await scene.tick()
    assert scene.status().state is RegressorState.IN_USE
    assert (scene.status().runs_ahead or timedelta()) >= timedelta(minutes=7)
    # A little later than before: without it at once, and judged again with the larger delay.
    scene.samples.delay[UPSTREAM] = timedelta(minutes=4)
    await scene.tick()
    assert scene.status().state is RegressorState.STALE
    await scene.tick(minutes=11)
    await scene.tick()
    assert scene.status().state is not RegressorState.STALE


async def test_an_unknown_series_is_named_with_the_nearest() -> None:
    misspelt = {"service": "gatway", "metric": "requests_per_second"}
    hint = "did you mean requests_per_second of service gateway?"
    scene = Scene(a_policy("orders", misspelt), suggestion=hint)
    await scene.tick()
    assert scene.status().state is RegressorState.STALE
    assert scene.status().message == f"has no samples in the last days; {hint}"
    assert scene.forecast().model == "RecentMean"


async def test_a_copy_of_the_demand_is_rejected() -> None:
    highest = SeriesKey("mirror", "requests_per_second", "Max")
    scene = Scene(a_policy("orders", {"service": "mirror", "metric": highest.metric, "aggregation": "Max"}))
    samples = scene.samples
    samples.series[highest] = samples.series[DEMAND]
    samples.delay[highest], samples.end[highest] = timedelta(), samples.end[DEMAND]
    await scene.tick()
    await scene.tick()
    assert scene.status().state is RegressorState.REJECTED
    assert "is a copy of the demand itself" in scene.status().message


async def test_a_failing_indicator_affects_its_policy_only(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(a_policy("broken", REGRESSOR), a_policy("orders", REGRESSOR), a_policy("plain"))
    for _ in range(3):
        await scene.tick()
    assert not np.array_equal(scene.forecast(1).values, scene.forecast(2).values)
    corrected = scene.indicators.corrected

    def fail_for_broken(policy: ScalingPolicy, *arguments: Any) -> Forecast:
        if policy.metadata.name == "broken":
            raise ValueError("unreadable")
        return corrected(policy, *arguments)

    monkeypatch.setattr(scene.indicators, "corrected", fail_for_broken)
    await scene.tick()
    np.testing.assert_array_equal(scene.forecast(0).values, scene.forecast(2).values)
    assert not np.array_equal(scene.forecast(1).values, scene.forecast(2).values)


async def test_garbage_of_an_indicator_is_set_aside() -> None:
    scene = Scene(a_policy("orders", REGRESSOR), a_policy("plain"))
    for _ in range(2):
        await scene.tick()
    scene.samples.series[UPSTREAM][(NOON - START) // MINUTE :] = 1e300
    await scene.tick()
    assert np.isfinite(scene.forecast(0).values).all()
    assert scene.forecast(0).at(0.5).max() < 5 * scene.forecast(1).at(0.5).max()


async def test_a_policy_without_regressors_has_the_forecast_of_the_models() -> None:
    scene = Scene(a_policy("plain"))
    await scene.tick()
    assert scene.indicators.to_study() == {}
    assert all(keys == (DEMAND,) for keys in scene.samples.queries)


async def test_series_of_all_policies_are_read_together() -> None:
    others = [a_policy(f"policy-{at}", {"service": f"queue-{at}", "metric": "length"}) for at in range(20)]
    scene = Scene(*others)
    await scene.tick()
    assert len(scene.samples.queries) == 1
    assert len(scene.samples.queries[0]) == 21


async def test_a_changed_policy_waits_for_its_own_study() -> None:
    scene = Scene(a_policy("orders", REGRESSOR))
    for _ in range(2):
        await scene.tick()
    assert scene.status().state is RegressorState.IN_USE
    scene.requirements = [ForecastRequirement(a_policy("orders", REGRESSOR | {"maxLag": "1h"}), LEAD_TIME)]
    await scene.tick()
    assert scene.status().state is RegressorState.WAITING
    await scene.tick(minutes=11)
    await scene.tick()
    assert scene.status().state is RegressorState.IN_USE
    scene.forecasts.forget([], scene.clock.now())
    assert scene.indicators.to_study() == {}
