"""Small backtests: rolling forecasts without training, and simulations of them."""

from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.forecaster import ModelChoice
from forecasting.series import Series
from predictive_scaling.backtesting.manifests import default_policy, replayable
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts, plan_of
from predictive_scaling.backtesting.walk_forward import walk_forward
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import learned_capacity, workload
from tests.support.demand_series import a_shape

BEGIN = datetime(2026, 11, 2, tzinfo=UTC)
BIN = timedelta(minutes=5)
LEAD_TIME = timedelta(minutes=3)


def silent(what: str, done: float) -> None:
    """Ignore the progress."""


def a_demand(days: float = 3, seed: int = 1, noise: float = 0.15) -> Series:
    bins = round(days * timedelta(days=1) / BIN)
    return Series("shop", BEGIN, BIN, a_shape(bins, BIN, seed, noise))


def rolling_forecasts_of(series: Series, split: float = 0.8) -> RollingForecasts:
    """Return seasonal naive forecasts, which need no training."""
    plan = plan_of(series, split, 1, [1, 2, 3, 4, 12], 12)
    return walk_forward(series, plan, ModelChoice.SEASONAL_NAIVE, report=silent)


def a_simulation(
    series: Series,
    policy: ScalingPolicy | None = None,
    events: tuple[BusinessEvent, ...] = (),
    forecasts: RollingForecasts | None = None,
) -> ScalingSimulation:
    """Return the simulation of the time after the split."""
    forecasts = forecasts or rolling_forecasts_of(series)
    policy = replayable(policy or default_policy("shop"), LEAD_TIME)
    scenario = Scenario(policy, events, learned_capacity(series, 0.7), 0.7, LEAD_TIME)
    workload_after_split = workload(series, forecasts.moment(forecasts.plan.split), series.end)
    return ScalingSimulation(scenario, workload_after_split, forecasts)


def with_gap(series: Series, since: int, until: int) -> Series:
    values = series.values.copy()
    values[since:until] = np.nan
    return Series(series.name, series.start, series.step, values)
