"""What the tables of forecasts and of tunings promise, on a real PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.predictions import AT_INTERVALS, Prediction, Predictions
from predictive_scaling.storage.tunings import TuningRow, Tunings
from predictive_scaling.tuning.recent import RECORDED

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_prediction(made: datetime, target: datetime, p50: float = 10.0, policy: str = "checkout") -> Prediction:
    quantiles = (p50 / 2, p50, p50 * 1.1, p50 * 1.2, p50 * 1.3)
    return Prediction(
        made, policy, target, *quantiles, "lightgbm", "3", "shop", policy, "fresh", valid_until=made + 60 * MINUTE
    )


async def test_the_newest_forecast_of_each_policy_is_read_from_a_moment_on(database: Database) -> None:
    predictions = Predictions(database)
    old = [a_prediction(NOW - MINUTE, NOW + step * MINUTE, p50=1.0) for step in range(3)]
    new = [a_prediction(NOW, NOW + step * MINUTE, p50=2.0) for step in range(3)]
    other = [a_prediction(NOW - MINUTE, NOW + MINUTE, policy="cart")]
    await predictions.record([*old, *new, *other])
    await predictions.record(new)
    newest = await predictions.newest(since=NOW + MINUTE, made_since=NOW - 60 * MINUTE)
    assert newest == [*other, *new[1:]]
    assert await predictions.newest(since=NOW, made_since=NOW - 60 * MINUTE, service="cart") == other
    assert await predictions.between("checkout", NOW, NOW + MINUTE) == [new[0]]
    await predictions.record([])


async def test_the_last_forecast_made_a_lead_ahead_is_found(database: Database) -> None:
    predictions = Predictions(database)
    made = [a_prediction(NOW - lead * MINUTE, NOW, p50=float(lead)) for lead in (5, 15, 30)]
    await predictions.record(made)
    ahead = await predictions.ahead(15 * MINUTE, NOW, NOW + MINUTE, policy=("shop", "checkout"))
    assert ahead == [made[1]]
    assert await predictions.ahead(16 * MINUTE, NOW, NOW + MINUTE) == [made[2]]


def a_tuning(policy: str = "checkout", **differences: object) -> TuningRow:
    row = TuningRow(
        namespace="shop",
        policy=policy,
        tuned_at=NOW,
        since=NOW - timedelta(days=7),
        until=NOW,
        under_provisioned_minute=1.0,
        replica_hour=0.5,
        quantile=0.95,
        moved_at=NOW,
        rising=None,
        turns=0,
        hpa_target=0.7,
        advised_target=0.82,
        saved=0.09,
        hours_saved=120.5,
        message="the HPA's target may go from 70 % to 82 %",
        recorded_share=0.5,
        alone=[0.0, 0.7, 0.01, 0.002, 100.0, 1500.0],
        points=[[0.9, 0.7, 0.004, 0.001, 40.0, 1600.0], [0.95, 0.7, 0.002, 0.001, 20.0, 1650.0]],
    )
    return replace(row, **differences)  # pyright: ignore[reportArgumentType] (a builder: fields by name)


async def test_of_each_policy_the_newest_tuning_is_kept_until_it_is_gone(database: Database) -> None:
    tunings = Tunings(database)
    await tunings.record([a_tuning(), a_tuning("cart", under_provisioned_minute=None, replica_hour=None)])
    newer = a_tuning(quantile=0.9, rising=False, turns=1, points=[[0.9, 0.7, 0.0, 0.0, 0.0, 1.0]])
    await tunings.record([newer])
    cart = a_tuning("cart", under_provisioned_minute=None, replica_hour=None)
    assert await tunings.all() == [cart, newer]
    await tunings.forget([("shop", "cart"), ("other", "checkout")])
    assert await tunings.all() == [newer]
    assert (await tunings.of("shop", "checkout"), await tunings.of("shop", "cart")) == (newer, None)


async def test_of_the_forecasts_of_an_interval_the_last_is_read_as_far_as_asked(database: Database) -> None:
    predictions = Predictions(database)
    made = [
        a_prediction(NOW + minute * MINUTE, NOW + (minute + ahead) * MINUTE, p50=10.0 * minute, policy=policy)
        for minute in (1, 4, 5, 11)
        for ahead in (0, 5, 10)
        for policy in ("checkout", "cart")
    ]
    await predictions.record(made)
    packed = await predictions.at_intervals(
        "shop", "checkout", since=NOW, until=NOW + 15 * MINUTE, every=5 * MINUTE, reach=10 * MINUTE
    )
    rows = np.frombuffer(packed, RECORDED)
    second = 1_000_000
    begin = round((NOW - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()) * second
    assert ((rows["created"] - begin) // second).tolist() == [300, 300, 660, 660]
    assert ((rows["target"] - rows["created"]) // second).tolist() == [0, 300, 0, 300]
    assert rows["quantiles"][0].tolist() == pytest.approx([25.0, 50.0, 55.0, 60.0, 65.0])
    nothing = await predictions.at_intervals(
        "shop", "checkout", since=NOW + 30 * MINUTE, until=NOW + 45 * MINUTE, every=5 * MINUTE, reach=5 * MINUTE
    )
    assert nothing == b""


async def test_forecasts_of_intervals_are_found_by_hops_along_the_primary_key(database: Database) -> None:
    """Another plan, of the same answer, took a hundred times as long on a week of forecasts."""
    made = [a_prediction(NOW + minute * MINUTE, NOW + (minute + 5) * MINUTE) for minute in range(600)]
    await Predictions(database).record(made)
    values = {"namespace": "shop", "policy": "checkout", "since": NOW, "intervals": 100}
    async with database.connection() as connection:
        asked = values | {"every": 5 * MINUTE, "reach": 15 * MINUTE}
        plan = await (await connection.execute(f"explain {AT_INTERVALS}", asked)).fetchall()
    scans = [line for (line,) in plan if "on predictions" in line]
    assert len(scans) == 2
    assert all("predictions_pkey" in line for line in scans), "\n".join(line for (line,) in plan)
