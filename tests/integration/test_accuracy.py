"""The reported accuracy is the accuracy over the requested window, from the tables to the HTTP API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forecasting.series import FloatArray
from predictive_scaling.clock import ManualClock
from predictive_scaling.control.current_forecasts import ForecastRequirement
from predictive_scaling.control.demand_window import BIN, MINUTE, DemandWindow
from predictive_scaling.control.jobs.accuracy import Accuracy
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.predictions import Predictions
from tests.support.api_services import api_client, api_services, get_json
from tests.support.builders import a_policy
from tests.support.control import a_state

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 24, tzinfo=UTC)
BINS = 30 * 12
"""Thirty hours."""
LEAD_BINS = 2
"""A forecast is created in each bin; forecasts at least 8 minutes ahead are 2 bins old."""
SPREAD = np.array([0.5, 1.0, 1.2, 1.5, 2.0])


@dataclass
class Service:
    """A service with its demand and its forecasts in each bin; the forecasts of the last hours are perfect."""

    name: str
    demand: FloatArray
    p50: FloatArray
    """p50[i, h]: of the forecast created at the beginning of bin i for the bin h bins later."""
    quantile: float

    @property
    def scored(self) -> FloatArray:
        """The p50 that is scored for each bin; NaN for the first bins."""
        bins = np.arange(LEAD_BINS, BINS)
        return np.append(np.full(LEAD_BINS, np.nan), self.p50[bins - LEAD_BINS, LEAD_BINS])


def a_service(name: str, level: float, quantile: float, seed: int) -> Service:
    noise = np.random.default_rng(seed)
    demand = level * noise.uniform(0.5, 1.5, BINS)
    demand[noise.integers(0, BINS, 15)] = np.nan
    p50 = np.empty((BINS, 6))
    for ahead in range(6):
        target = np.clip(np.arange(BINS) + ahead, 0, BINS - 1)
        p50[:, ahead] = np.nan_to_num(demand[target], nan=level) * noise.uniform(0.4, 1.8, BINS)
    perfect = slice(BINS - 7 * 12, BINS)
    p50[perfect, LEAD_BINS] = np.nan_to_num(np.roll(demand, -LEAD_BINS)[perfect], nan=level)
    return Service(name, demand, p50, quantile)


class RecordedDemand:
    """The demand of each minute before the clock."""

    def __init__(self, services: Sequence[Service], clock: ManualClock) -> None:
        self.services = {service.name: service for service in services}
        self.clock = clock

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        return {key: self._minutes(self.services[key.service], since, until) for key in keys}

    def _minutes(self, service: Service, since: datetime, until: datetime) -> npt.NDArray[np.float64]:
        minutes = (since - START) // MINUTE + np.arange((until - since) // MINUTE)
        inside = (minutes >= 0) & (minutes < min(BINS * 5, (self.clock.now() - START) // MINUTE))
        return np.where(inside, service.demand[np.where(inside, minutes, 0) // 5], np.nan)


def states_of(services: Sequence[Service]) -> PolicyStates:
    states = PolicyStates()
    for service in services:
        policy = a_policy(
            demand={"service": service.name, "metric": "requests", "perReplica": "1"},
            forecast={"quantile": str(service.quantile)},
        )
        metadata = policy.metadata.model_copy(update={"name": service.name, "uid": service.name})
        policy = policy.model_copy(update={"metadata": metadata})
        state: PolicyState = a_state(requirement=ForecastRequirement(policy, timedelta(minutes=8)))
        states._states[service.name] = state  # pyright: ignore[reportPrivateUsage]
    return states


def a_forecast(service: Service, bin_: int) -> list[Prediction]:
    created_at = START + bin_ * BIN
    return [
        Prediction(
            created_at=created_at,
            service_name=service.name,
            target_time=created_at + ahead * BIN,
            **dict(zip(("p10", "p50", "p80", "p90", "p95"), SPREAD * service.p50[bin_, ahead], strict=True)),
            model_name="LightGBM",
            model_version="v1",
            namespace="shop",
            policy=service.name,
            source="FreshForecast",
        )
        for ahead in range(6)
    ]


def expected_accuracy(services: Sequence[Service], first: int, end: int) -> dict[str, Any]:
    """Compute the ratios over the bins [first, end) independently."""
    actual = np.concatenate([service.demand[first:end] for service in services])
    p50 = np.concatenate([service.scored[first:end] for service in services]).astype(np.float32).astype(float)
    is_known = np.isfinite(actual) & np.isfinite(p50)
    actual, p50 = actual[is_known].astype(np.float32).astype(float), p50[is_known]
    errors = p50 - actual
    coverage = {
        name: pytest.approx(np.mean(actual <= p50 * factor))
        for name, factor in zip(("0.5", "0.8", "0.9", "0.95"), SPREAD[1:], strict=True)
    }
    return {
        "mape": pytest.approx(np.mean(np.abs(errors) / actual), rel=1e-5, abs=1e-9),
        "wape": pytest.approx(np.abs(errors).sum() / actual.sum(), rel=1e-5, abs=1e-9),
        "bias": pytest.approx(errors.sum() / actual.sum(), rel=1e-5, abs=1e-6),
        "coverage": coverage,
        "samples": len(actual),
    }


async def test_accuracy_covers_all_samples_of_the_requested_window(
    database: Database, migrated_database_url: str
) -> None:
    services = [a_service("api", 100_000.0, 0.9, 1), a_service("cart", 30.0, 0.95, 2), a_service("pay", 2.0, 0.8, 3)]
    clock, predictions = ManualClock(START), Predictions(database)
    window, states = DemandWindow(RecordedDemand(services, clock)), states_of(services)

    def new_leader() -> Accuracy:
        return Accuracy(predictions, ModelPerformances(database), window, states, clock)

    leaders = [new_leader(), new_leader()]
    for bin_ in range(BINS):
        clock.at = START + bin_ * BIN
        await predictions.record([row for service in services for row in a_forecast(service, bin_)])
        if bin_ % 3 == 1:
            await window.advance([requirement.series for requirement in states.requirements()], clock.now())
            await leaders[bin_ % 2].run()
        if bin_ % 90 == 89:
            leaders[0] = new_leader()  # a restart
    clock.at = START + BINS * BIN + BIN
    await window.advance([requirement.series for requirement in states.requirements()], clock.now())
    await leaders[0].run()
    clock.at = START + BINS * BIN
    async with api_services(migrated_database_url, clock=clock) as api, api_client(api) as client:
        for hours in (1, 3, 6, 7, 9, 24, 30):
            accuracy = (await get_json(client, f"/api/v1/metrics/accuracy?window={hours}h"))["accuracy"]
            first = BINS - hours * 12
            assert {
                name: accuracy[name] for name in ("mape", "wape", "bias", "coverage", "samples")
            } == expected_accuracy(services, first, BINS)
            assert [scores["service_name"] for scores in accuracy["services"]] == ["api", "cart", "pay"]
            for service, scores in zip(services, accuracy["services"], strict=True):
                expected = expected_accuracy([service], first, BINS)
                assert {name: scores[name] for name in ("mape", "wape", "coverage")} == {
                    name: expected[name] for name in ("mape", "wape", "coverage")
                }
        perfect = (await get_json(client, "/api/v1/metrics/accuracy?window=6h"))["accuracy"]
        assert perfect["mape"] == pytest.approx(0, abs=1e-6)
        cart = (await get_json(client, "/api/v1/metrics/accuracy?window=24h&service=cart"))["accuracy"]
        assert cart["wape"] == expected_accuracy([services[1]], BINS - 24 * 12, BINS)["wape"]
        assert cart["samples"] == expected_accuracy([services[1]], BINS - 24 * 12, BINS)["samples"]
    await check_statuses(services, states)
    await check_rows(database)


async def check_statuses(services: Sequence[Service], states: PolicyStates) -> None:
    """status.accuracy covers the last day, and its coverage is that of the policy's quantile."""
    accuracy_by_service = {key.name: state.accuracy for key, state in states.by_key().items()}
    for service in services:
        expected, accuracy = expected_accuracy([service], BINS - 24 * 12, BINS), accuracy_by_service[service.name]
        assert accuracy is not None
        assert accuracy.wape == pytest.approx(expected["wape"].expected, abs=1e-4)
        assert accuracy.mape == pytest.approx(expected["mape"].expected, abs=1e-4)
        assert accuracy.quantile == service.quantile
        assert accuracy.coverage == pytest.approx(expected["coverage"][str(service.quantile)].expected, abs=1e-4)


async def check_rows(database: Database) -> None:
    """The ratio columns agree with the sums of their row; no interval is stored twice."""
    query = """
    select count(*), count(distinct (policy, since)), max(abs(wape - absolute_error / demand)),
        max(abs(coverage - covered_p90::float8 / samples)), min(period), max(period)
    from model_performance
    """
    async with database.connection() as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    count, distinct, wape_error, coverage_error, shortest, longest = row
    assert count == distinct > 300
    assert (wape_error, coverage_error) == (pytest.approx(0, abs=1e-12), 0)
    assert shortest == longest == timedelta(minutes=15)
