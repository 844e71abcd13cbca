"""The quality of the demand that policies read, on a real database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from predictive_scaling.api.quality_metrics import quality_task, refresh_demand_age
from predictive_scaling.api.services import Services
from predictive_scaling.api.stored_models import Models
from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.ingest.arrivals import Arrivals
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.data_quality import DataQuality, SeriesQuality
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.sample_arrivals import SampleArrivals
from predictive_scaling.storage.samples import Sample, Samples, series_of

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOW = timedelta(hours=2)

POLICY = """
insert into policies (namespace, policy, service_name, metric_name, mode, target, min_replicas, max_replicas, limited,
    conditions, updated_at)
values (%s, %s, %s, %s, 'Auto', 'hpa', 1, 9, false, '[]', %s)
"""


def a_sample(at: datetime, service: str, metric: str, value: float, *, counter: bool = False) -> Sample:
    return Sample(at, service, metric, series_of({}), value, {}, counter)


async def quality(database: Database, **filters: object) -> dict[str, SeriesQuality]:
    rows = await DataQuality(database).of_policies(NOW, WINDOW, **filters)  # pyright: ignore[reportArgumentType]
    return {f"{row.service_name}/{row.metric_name}": row for row in rows}


@pytest.fixture
async def recorded(database: Database) -> Database:
    start = NOW - WINDOW
    minutes = range(120)
    samples = [
        # A quarter of an hour is missing, and one value is absurd.
        *(
            a_sample(start + n * MINUTE, "shop", "rps", 1e12 if n == 60 else 50 + n % 7)
            for n in minutes
            if not 30 <= n < 45
        ),
        # Two restarts.
        *(a_sample(start + n * MINUTE, "shop", "hits_total", (n % 50) * 60.0, counter=True) for n in minutes),
        # A series that began an hour ago.
        *(a_sample(start + n * MINUTE, "new", "rps", 10.0) for n in minutes if n >= 60),
        # A series that stopped before the window.
        a_sample(start - timedelta(hours=3), "gone", "rps", 10.0),
    ]
    await Samples(database).record(samples)
    async with database.connection() as connection:
        for namespace, service, metric in (
            ("shop", "shop", "rps"),
            ("other", "shop", "rps"),
            ("shop", "shop", "hits_total"),
            ("other", "new", "rps"),
            ("shop", "gone", "rps"),
            ("shop", "never", "rps"),
        ):
            await connection.execute(POLICY, (namespace, f"{service}-{metric}", service, metric, NOW))
    return database


async def test_gaps_restarts_and_outliers_of_each_series_are_counted(recorded: Database) -> None:
    found = await quality(recorded)
    assert list(found) == ["gone/rps", "never/rps", "new/rps", "shop/hits_total", "shop/rps"]
    shop = found["shop/rps"]
    assert shop.missing_ratio == pytest.approx(15 / 118)
    assert (shop.outliers, shop.resets) == (1, 0)
    assert shop.last == NOW - MINUTE
    assert found["shop/hits_total"].resets == 2
    assert found["shop/hits_total"].missing_ratio == pytest.approx(0)
    assert found["new/rps"].missing_ratio == 0
    assert found["gone/rps"].missing_ratio == 1
    assert (str(found["never/rps"].missing_ratio), found["never/rps"].last) == ("nan", None)


async def test_minutes_between_samples_at_the_usual_distance_are_not_missing(database: Database) -> None:
    """Every five minutes, without the samples of the minutes 30 to 45: 15 minutes more than usual between two."""
    times = [n for n in range(0, 120, 5) if not 30 <= n < 45]
    await Samples(database).record([a_sample(NOW - WINDOW + n * MINUTE, "slow", "rps", 10.0) for n in times])
    async with database.connection() as connection:
        await connection.execute(POLICY, ("shop", "slow-rps", "slow", "rps", NOW))
    assert (await quality(database))["slow/rps"].missing_ratio == pytest.approx(15 / 118)


async def test_a_list_has_pages_and_only_the_series_of_visible_policies(recorded: Database) -> None:
    assert list(await quality(recorded, namespaces=["other"])) == ["new/rps", "shop/rps"]
    assert list(await quality(recorded, readable=[("*", "sho%")])) == ["shop/hits_total", "shop/rps"]
    assert list(await quality(recorded, service="new")) == ["new/rps"]
    assert list(await quality(recorded, limit=2)) == ["gone/rps", "never/rps"]
    assert list(await quality(recorded, after=("new", "rps"))) == ["shop/hits_total", "shop/rps"]


async def test_late_samples_and_clocks_that_are_ahead_are_known(recorded: Database) -> None:
    table, arrivals = SampleArrivals(recorded), Arrivals()
    on_time = [a_sample(NOW - timedelta(seconds=20), "shop", "rps", 1)] * 3
    arrivals.note(on_time, NOW)
    await arrivals.write(table)
    arrivals.note([a_sample(NOW - 10 * MINUTE, "shop", "rps", 1)], NOW)
    arrivals.note([a_sample(NOW + timedelta(seconds=90), "new", "rps", 1)], NOW)
    await arrivals.write(table)
    await arrivals.write(table)  # nothing new
    found = await quality(recorded)
    assert (found["shop/rps"].late_ratio, found["shop/rps"].min_delay_seconds) == (0.25, 20)
    assert (found["new/rps"].late_ratio, found["new/rps"].min_delay_seconds) == (0, -90)
    assert str(found["gone/rps"].late_ratio) == "nan"


async def test_arrivals_wait_for_the_database(recorded: Database) -> None:
    class Away(SampleArrivals):
        async def add(self, arrivals: object) -> None:
            raise DatabaseUnavailableError("away")

    arrivals = Arrivals()
    arrivals.note([a_sample(NOW - MINUTE, "shop", "rps", 1)], NOW)
    with pytest.raises(DatabaseUnavailableError):
        await arrivals.write(Away(recorded))
    arrivals.note([a_sample(NOW - 7 * MINUTE, "shop", "rps", 1)], NOW)
    await arrivals.write(SampleArrivals(recorded))
    found = await quality(recorded)
    assert (found["shop/rps"].late_ratio, found["shop/rps"].min_delay_seconds) == (0.5, 60)


def gauge(name: str, service: str, metric: str = "rps") -> float | None:
    labels = {"service_name": service, "metric_name": metric}
    return REGISTRY.get_sample_value(f"predictive_scaling_demand_{name}", labels)


async def test_the_age_of_the_newest_sample_is_exported(recorded: Database) -> None:
    services = Services(ManualClock(NOW), recorded, Commands(recorded), lambda: Models(models=[], rejected=[]))

    async def age() -> str:
        await refresh_demand_age(services)
        return str(REGISTRY.get_sample_value("predictive_scaling_demand_age_seconds"))

    assert await age() == "60.0"
    async with recorded.connection() as connection:
        await connection.execute("delete from policies where service_name <> 'gone'")
    assert await age() == f"{5 * 3600.0}"
    async with recorded.connection() as connection:
        await connection.execute("delete from metrics_1m")
    assert await age() == f"{24 * 3600.0}", "none within a day"
    async with recorded.connection() as connection:
        await connection.execute("delete from policies")
    assert await age() == "nan", "nobody waits for demand"


async def test_the_quality_of_each_series_is_exported_as_metrics(recorded: Database) -> None:
    arrivals = Arrivals()
    arrivals.note([a_sample(NOW - MINUTE, "shop", "rps", 1), a_sample(NOW - 10 * MINUTE, "shop", "rps", 1)], NOW)
    arrivals.note([a_sample(NOW + timedelta(seconds=90), "new", "rps", 1)], NOW)
    await arrivals.write(SampleArrivals(recorded))
    services = Services(ManualClock(NOW), recorded, Commands(recorded), lambda: Models(models=[], rejected=[]))
    task = quality_task(services)
    await task.attempt()
    # The series began two hours ago, a quarter of an hour of them is missing.
    assert gauge("missing_ratio", "shop") == pytest.approx(15 / 118)
    assert (gauge("late_ratio", "shop"), gauge("min_delay_seconds", "new")) == (0.5, -90)
    assert (gauge("counter_resets", "shop", "hits_total"), gauge("outliers", "shop")) == (2, 1)
    assert gauge("late_ratio", "gone") is None, "unknown"
    assert gauge("missing_ratio", "never") is None, "without samples nothing is known"
    rows = await services.data_quality.of_policies(NOW, timedelta(hours=24))
    assert [gauge("missing_ratio", row.service_name, row.metric_name) for row in rows if row.last] == [
        row.missing_ratio for row in rows if row.last
    ]

    async with recorded.connection() as connection:
        await connection.execute("delete from policies where service_name = 'new'")
    await task.attempt()
    assert gauge("min_delay_seconds", "new") is None, "the policy is gone"
    assert gauge("missing_ratio", "shop") is not None
    away_url, soon = "postgresql://nobody@127.0.0.1:1/nothing", timedelta(seconds=0.2)
    async with Database(away_url, checkout_timeout=soon) as away:
        failing = quality_task(replace(services, database=away))
        await failing.attempt()
    assert failing.waits_for_dependency
    assert gauge("missing_ratio", "shop") is None, "old values look current"
