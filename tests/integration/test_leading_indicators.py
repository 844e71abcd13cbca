"""A policy with a leading indicator on a real database and real models: better forecasts, and none when it stops."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecasting.error_measures import wape
from forecasting.forecast import Forecast
from forecasting.series import FloatArray
from predictive_scaling.__main__ import main
from predictive_scaling.clock import ManualClock
from predictive_scaling.control.current_forecasts import ForecastProvider, ForecastRequirement
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.jobs.indicator_studies import IndicatorStudies
from predictive_scaling.control.leading_indicators import LeadingIndicators
from predictive_scaling.control.series_suggestions import SeriesSuggestions
from predictive_scaling.resources.namespace_patterns import UNRESTRICTED
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import RegressorState
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from tests.support.builders import NOON
from tests.support.control import a_policy_named
from tests.support.demand import METRIC, MINUTE, end_demand, record_demand
from tests.support.leading import STEP, followed

pytestmark = pytest.mark.integration

START = NOON - timedelta(days=8)
SCENE = followed(days=10)


def a_policy(name: str, *services: str) -> ScalingPolicy:
    demand = {"service": "orders", "metric": METRIC, "perReplica": "50"}
    regressors = [{"service": service, "metric": METRIC} for service in services]
    return a_policy_named(name, demand=demand, forecast={"horizon": "1h", "regressors": regressors})


class Scene:
    """Two policies of the same demand, one of them with leading indicators, forecast from the database."""

    def __init__(self, database: Database, models: Path) -> None:
        self.clock = ManualClock(NOON)
        self.window = DemandWindow(Demand(database))
        self.suggestions = SeriesSuggestions(Demand(database), UNRESTRICTED, self.clock)
        self.indicators = LeadingIndicators(self.window, self.suggestions.nearest)
        store = ModelStore(models)
        self.forecasts = ForecastProvider(
            store, self.window, refresh=MINUTE, metrics_max_age=5 * MINUTE, indicators=self.indicators
        )
        self.studies = IndicatorStudies(store, self.indicators, self.clock, rest=0.0)
        lead_time = timedelta(minutes=8)
        self.policy = a_policy("orders", "gateway", "gatway")
        self.requirements = [ForecastRequirement(policy, lead_time) for policy in (self.policy, a_policy("plain"))]

    async def tick(self, minutes: int) -> tuple[Forecast, Forecast]:
        """Return the forecasts with and without the indicator after some minutes."""
        self.clock.advance(minutes * MINUTE)
        now = self.clock.now()
        await self.window.advance({key for one in self.requirements for key in one.read}, now)
        await self.forecasts.refresh(self.requirements, now)
        await self.studies.run()
        await self.suggestions.run()
        with_it, without = (self.forecasts.current(one, now) for one in self.requirements)
        assert with_it is not None
        assert without is not None
        return with_it.forecast, without.forecast


async def record(url: str, service: str, values: FloatArray) -> None:
    await record_demand(url, service, START, NOON + timedelta(hours=7), lambda at: values[(at - START) // STEP])


async def test_an_indicator_improves_forecasts_until_it_stops(
    migrated_database_url: str, database: Database, tmp_path: Path
) -> None:
    await record(migrated_database_url, "orders", SCENE.demand)
    await record(migrated_database_url, "gateway", SCENE.upstream)
    scene = Scene(database, tmp_path / "models")
    with_it, without = await scene.tick(1)
    np.testing.assert_array_equal(with_it.values, without.values)
    errors: list[tuple[float, float]] = []
    for _ in range(70):
        with_it, without = await scene.tick(5)
        actual = SCENE.demand[(with_it.origin - START) // STEP :][:3]
        errors.append((wape(actual, with_it.at(0.5)[:3]), wape(actual, without.at(0.5)[:3])))
    assert np.mean([error for error, _ in errors]) < 0.8 * np.mean([error for _, error in errors])
    used, misspelt = scene.indicators.statuses(scene.policy)
    assert used.state is RegressorState.IN_USE
    assert misspelt.state is RegressorState.STALE
    assert misspelt.message == f"has no samples in the last days; did you mean {METRIC} of service gateway?"
    await end_demand(migrated_database_url, "gateway", scene.clock.now())
    with_it, without = await scene.tick(5)
    np.testing.assert_array_equal(with_it.values, without.values)
    with_it, without = await scene.tick(30)
    np.testing.assert_array_equal(with_it.values, without.values)
    stopped = scene.indicators.statuses(scene.policy)[0]
    assert stopped.state is RegressorState.STALE
    assert stopped.message.startswith("has no sample since 2026-06-17T17:51:00Z")


def backtest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> dict[str, Any]:
    monkeypatch.setattr("sys.argv", ["predictive-scaling", "backtest", *map(str, arguments)])
    with pytest.raises(SystemExit) as exited:
        main()
    assert not exited.value.code
    return json.loads(capsys.readouterr().out)


def test_the_backtest_command_reads_indicators_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, regressors, bins = tmp_path / "orders.csv", tmp_path / "regressors.csv", 4 * 288
    times = [f"{START + at * STEP:%Y-%m-%dT%H:%M:%SZ}" for at in range(bins)]
    demand, upstream = SCENE.demand[:bins], SCENE.upstream[:bins]
    trace.write_text("timestamp,value\n" + "".join(f"{at},{value}\n" for at, value in zip(times, demand, strict=True)))
    rows = "".join(f"{at},gateway,{METRIC},{value}\n" for at, value in zip(times, upstream, strict=True))
    regressors.write_text("time,service,metric,value\n" + rows)
    options = ("--trace", trace, "--model", "SeasonalNaive", "--refits", 1, "--split", 0.9, "--output", "json")
    without = backtest(capsys, monkeypatch, *options)
    assert without["regressors"] is None
    with_it = backtest(capsys, monkeypatch, *options, "--regressors", regressors)
    assert [series["name"] for series in with_it["regressors"]["series"]] == [f"{METRIC} of gateway"]
    assert with_it["regressors"]["cost_without"] > 0
