"""The tables of forecasts and tunings on a real PostgreSQL."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predictive_scaling.storage.database import Database
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.storage.predictions import AT_INTERVALS, Predictions
from predictive_scaling.storage.tunings import TuningRow, Tunings
from predictive_scaling.tuning.recent import RECORDED

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_prediction(
    created_at: datetime, target_time: datetime, p50: float = 10.0, policy: str = "checkout"
) -> Prediction:
    quantiles = (p50 / 2, p50, p50 * 1.5, p50 * 2, p50 * 3)
    return Prediction(created_at, policy, target_time, *quantiles, "lightgbm", "3", "shop", policy, "FreshForecast")


def a_forecast(
    created_at: datetime, bins: int = 36, p50: float = 10.0, policy: str = "checkout", lead: int = 4
) -> list[Prediction]:
    """Return bins of 5 minutes, the first twelve with peaks; valid until `lead` minutes before the end of the last."""
    rows = [a_prediction(created_at, created_at + bin_ * 5 * MINUTE, p50, policy) for bin_ in range(bins)]
    peaks = {"peak_p50": 2 * p50, "peak_p80": 3 * p50, "peak_p90": 4 * p50, "peak_p95": 5 * p50}
    valid_until = created_at + (bins * 5 - lead) * MINUTE
    return [replace(row, valid_until=valid_until, **peaks if bin_ < 12 else {}) for bin_, row in enumerate(rows)]


async def test_the_newest_forecast_of_each_policy_is_read_completely_from_a_time_on(database: Database) -> None:
    predictions = Predictions(database)
    old, new = a_forecast(NOW - MINUTE, p50=1.0), a_forecast(NOW, p50=2.0)
    other = a_forecast(NOW - MINUTE, policy="cart")
    await predictions.record([*old, *new, *other])
    await predictions.record(new)
    newest = await predictions.newest(since=NOW + MINUTE, created_since=NOW - 60 * MINUTE)
    assert newest == [*other[1:], *new[1:]]
    assert await predictions.newest(since=NOW - MINUTE, created_since=NOW - 60 * MINUTE, service="cart") == other
    assert await predictions.newest(since=NOW, created_since=NOW) == new
    await predictions.record([])


async def test_after_the_clock_was_set_back_the_last_recorded_forecast_is_the_newest(database: Database) -> None:
    predictions = Predictions(database)
    await predictions.record(a_forecast(NOW + 90 * MINUTE, p50=1.0))
    last_recorded = a_forecast(NOW, p50=2.0)
    await predictions.record(last_recorded)
    assert await predictions.newest(since=NOW, created_since=NOW - MINUTE) == last_recorded
    assert await predictions.between("checkout", NOW, NOW + MINUTE) == [last_recorded[0]]


async def test_a_time_range_contains_the_last_forecast_of_each_target_time(database: Database) -> None:
    predictions = Predictions(database)
    forecasts = [a_forecast(NOW + minute * MINUTE, p50=minute + 1.0) for minute in range(13)]
    await predictions.record([row for forecast in forecasts for row in forecast])
    predictions_of_range = await predictions.between("checkout", NOW - MINUTE, NOW + 30 * MINUTE)
    history = {row.target_time: row.p50 for row in predictions_of_range if row.valid_until is None}
    assert history == {NOW + at * MINUTE: at + 1.0 for at in (0, 5)} | {
        NOW + at * MINUTE: 11.0 for at in (10, 15, 20, 25)
    }
    assert [row for row in predictions_of_range if row.valid_until is not None] == forecasts[-1][:4]
    assert await predictions.between("cart", NOW - MINUTE, NOW + 30 * MINUTE) == []


async def test_concurrent_writers_keep_one_forecast_per_interval(database: Database) -> None:
    predictions, other = Predictions(database), Predictions(database)
    forecasts = [a_forecast(NOW + minute * MINUTE) for minute in (0, 1, 4, 5, 9, 11)]
    for forecast in forecasts:
        await asyncio.gather(predictions.record(forecast), other.record(forecast))
    await predictions.record([row for forecast in forecasts for row in forecast])
    assert await forecasts_in_history(database) == [(NOW, 36), (NOW + 5 * MINUTE, 6), (NOW + 11 * MINUTE, 6)]


@pytest.mark.parametrize(("lead", "points"), [(4, 6), (40, 13), (90, 23), (170, 36)])
async def test_the_history_keeps_the_points_within_the_lead_time(database: Database, lead: int, points: int) -> None:
    predictions = Predictions(database)
    for created_at in (NOW + 5 * MINUTE, NOW + 16 * MINUTE):
        forecast = a_forecast(created_at, lead=lead)
        await predictions.record(forecast)
        assert await predictions.newest(created_at, created_at) == forecast
    assert await forecasts_in_history(database) == [(NOW + 5 * MINUTE, points), (NOW + 16 * MINUTE, 36)]


async def test_one_forecast_per_bin_is_kept_for_wide_bins(database: Database) -> None:
    predictions = Predictions(database)
    for minute in range(0, 60, 5):
        created_at = NOW + minute * MINUTE
        await predictions.record([a_prediction(created_at, created_at + bin_ * 15 * MINUTE) for bin_ in range(4)])
    assert await forecasts_in_history(database) == [(NOW + minute * MINUTE, 4) for minute in (0, 15, 30, 45)]


async def test_a_month_of_forecasts_takes_at_most_a_tenth_of_the_unthinned_size(database: Database) -> None:
    """Without thinning, a forecast of 36 bins each minute in double precision with four indexes took 457 MB a month."""
    predictions, days = Predictions(database), 2
    for hour in range(24 * days):
        created = [NOW + (60 * hour + minute) * MINUTE for minute in range(60)]
        await predictions.record([row for at in created for row in a_forecast(at, p50=100.1 + hour)])
    query = "select pg_total_relation_size('predictions') + pg_total_relation_size('current_predictions')"
    async with database.connection() as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    assert row[0] * 30 / days < 457e6 / 10


@given(values=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=5, max_size=5))
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
async def test_any_float_can_be_recorded(database: Database, values: list[float]) -> None:
    predictions = Predictions(database)
    prediction = a_prediction(NOW, NOW)
    quantiles = dict(zip(("p10", "p50", "p80", "p90", "p95"), values, strict=True))
    await predictions.record([replace(prediction, policy=repr(values), peak_p95=values[0], **quantiles)])
    (row,) = [row for row in await predictions.newest(NOW, NOW) if row.policy == repr(values)]
    for name, value in quantiles.items():
        expected = value if not np.isfinite(value) else float(np.clip(value, -3.4e38, 3.4e38))
        assert getattr(row, name) == pytest.approx(expected, rel=1e-6, abs=1e-37, nan_ok=True)


async def forecasts_in_history(database: Database) -> list[tuple[datetime, int]]:
    """Return the creation time of each forecast in the history, with its number of points."""
    query = "select created_at, count(*) from predictions group by 1 order by 1"
    async with database.connection() as connection:
        return await (await connection.execute(query)).fetchall()


async def test_the_last_forecast_made_before_a_lead_time_is_returned(database: Database) -> None:
    predictions = Predictions(database)
    recorded = [a_prediction(NOW - lead * MINUTE, NOW, p50=float(lead)) for lead in (30, 15, 5)]
    await predictions.record(recorded)
    await predictions.record([replace(row, policy="cart") for row in recorded])
    checkout = ("shop", "checkout")
    assert await predictions.ahead(15 * MINUTE, NOW, NOW + MINUTE, checkout) == [recorded[1]]
    assert await predictions.ahead(16 * MINUTE, NOW, NOW + MINUTE, checkout) == [recorded[0]]
    assert await predictions.ahead(31 * MINUTE, NOW, NOW + MINUTE, checkout) == []


def a_tuning(policy: str = "checkout", **changes: object) -> TuningRow:
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
    return replace(row, **changes)  # pyright: ignore[reportArgumentType] (a builder: fields by name)


async def test_the_newest_tuning_of_each_policy_is_kept_until_it_is_deleted(database: Database) -> None:
    tunings = Tunings(database)
    await tunings.record([a_tuning(), a_tuning("cart", under_provisioned_minute=None, replica_hour=None)])
    newer = a_tuning(quantile=0.9, rising=False, turns=1, points=[[0.9, 0.7, 0.0, 0.0, 0.0, 1.0]])
    await tunings.record([newer])
    cart = a_tuning("cart", under_provisioned_minute=None, replica_hour=None)
    assert await tunings.all() == [cart, newer]
    await tunings.forget([("shop", "cart"), ("other", "checkout")])
    assert await tunings.all() == [newer]
    assert (await tunings.of("shop", "checkout"), await tunings.of("shop", "cart")) == (newer, None)


async def test_the_last_forecast_of_each_interval_is_read_up_to_a_reach(database: Database) -> None:
    predictions = Predictions(database)
    recorded = [
        a_prediction(NOW + minute * MINUTE, NOW + (minute + ahead) * MINUTE, p50=10.0 * minute, policy=policy)
        for minute in (1, 4, 5, 11)
        for ahead in (0, 5, 10)
        for policy in ("checkout", "cart")
    ]
    await predictions.record(recorded)
    packed = await predictions.at_intervals(
        "shop", "checkout", since=NOW, until=NOW + 15 * MINUTE, interval=5 * MINUTE, reach=10 * MINUTE
    )
    rows = np.frombuffer(packed, RECORDED)
    second = 1_000_000
    begin = round((NOW - datetime(2000, 1, 1, tzinfo=UTC)).total_seconds()) * second
    assert ((rows["created"] - begin) // second).tolist() == [300, 300, 660, 660]
    assert ((rows["target"] - rows["created"]) // second).tolist() == [0, 300, 0, 300]
    assert rows["quantiles"][0].tolist() == [25.0, 50.0, 75.0, 100.0, 150.0]
    assert np.isnan(rows["peaks"]).all()
    without_rows = await predictions.at_intervals(
        "shop", "checkout", since=NOW + 30 * MINUTE, until=NOW + 45 * MINUTE, interval=5 * MINUTE, reach=5 * MINUTE
    )
    assert without_rows == b""


async def test_peaks_are_read_as_they_were_recorded(database: Database) -> None:
    predictions = Predictions(database)
    await predictions.record(a_forecast(NOW, p50=100.0))
    packed = await predictions.at_intervals(
        "shop", "checkout", since=NOW - MINUTE, until=NOW, interval=5 * MINUTE, reach=70 * MINUTE
    )
    rows = np.frombuffer(packed, RECORDED)
    assert rows["peaks"][:12].tolist() == [[200.0, 300.0, 400.0, 500.0]] * 12
    assert np.isnan(rows["peaks"][12:]).all()
    assert len(rows) == 14


async def test_forecasts_of_intervals_are_read_by_index_scans(database: Database) -> None:
    """Another plan with the same result took a hundred times as long on a week of forecasts."""
    recorded = [row for at in range(0, 12_000, 5) for row in a_forecast(NOW + at * MINUTE, bins=12)]
    await Predictions(database).record(recorded)
    values = {"namespace": "shop", "policy": "checkout", "since": NOW, "intervals": 100}
    async with database.connection() as connection:
        await connection.execute("analyze predictions")
        parameters = values | {"interval": 5 * MINUTE, "reach": 15 * MINUTE}
        plan = await (await connection.execute(f"explain {AT_INTERVALS}", parameters)).fetchall()
    scans = [line for (line,) in plan if "on predictions" in line]
    assert len(scans) == 2
    assert all("predictions_by_policy" in line for line in scans), "\n".join(line for (line,) in plan)
