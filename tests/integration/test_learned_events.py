"""The learned effect of events, from recorded demand to the event's status, on a real database."""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from math import pi, sin
from pathlib import Path

import pytest

from forecasting.context import KnownEvent
from forecasting.learning import learn
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.control.jobs.event_effects import EventEffects
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.storage.business_events import BusinessEventRow, BusinessEvents
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies
from predictive_scaling.training.demand_history import StoredHistory
from tests.support.api_services import a_policy as a_policy_row
from tests.support.builders import NOON, a_policy, an_event
from tests.support.control import World
from tests.support.demand import METRIC, record_demand

pytestmark = pytest.mark.integration
KEY = SeriesKey("checkout", METRIC, "Sum")
BIN = timedelta(minutes=15)
DAY = timedelta(days=1)
SINCE = NOON - 10 * DAY
SALES = tuple(SINCE + day * DAY + timedelta(hours=day % 5 * 3) for day in range(2, 9))
DURATION = timedelta(hours=2)
SMALL_MODEL = LightGBMQuantiles(rounds=3, rows=1000, peak_rows=1000, peak_rounds=3)


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncGenerator[Database]:
    await record_demand(migrated_database_url, "checkout", SINCE, NOON, demand, BIN)
    async with Database(migrated_database_url, purpose="tests") as database:
        await Policies(database).record([a_policy_row(service_name="checkout", metric_name=METRIC)])
        await BusinessEvents(database).record([a_sale(start) for start in SALES])
        yield database


def demand(at: datetime) -> float:
    """Return the demand at a time, doubled during a sale."""
    base = 100 + 50 * sin(at.hour / 12 * pi) + at.minute % 7
    return base * (2 if any(start <= at < start + DURATION for start in SALES) else 1)


def a_sale(start: datetime, policy: str = "checkout") -> BusinessEventRow:
    return BusinessEventRow(
        "shop", f"sale-{start:%d}", "flash-sale", start, start + DURATION, None, None, 0, (policy,), updated_at=NOON
    )


def history(database: Database) -> StoredHistory:
    return StoredHistory(Demand(database), Policies(database), BusinessEvents(database))


async def test_the_training_series_contains_the_events_of_its_policies(database: Database) -> None:
    await BusinessEvents(database).record([a_sale(NOON - DAY, policy="another")])
    series = await history(database).demand(KEY, SINCE, NOON, BIN)
    assert series.context.events == tuple(KnownEvent("flash-sale", start, start + DURATION) for start in SALES)


async def test_the_learned_multiplier_is_recorded_with_each_occurrence(database: Database, tmp_path: Path) -> None:
    series = await history(database).demand(KEY, SINCE, NOON, BIN)
    publish(Registry(tmp_path), KEY, learn(series, SMALL_MODEL), NOON)
    model_store = ModelStore(tmp_path, timeout_seconds=60)
    assert (await model_store.refresh()).rejected == ()
    table, world = BusinessEvents(database), World(a_policy(demand={"metric": METRIC, "perReplica": "100"}))
    await table.record([a_sale(NOON - DAY, policy="another"), a_sale(NOON + DAY)])
    await EventEffects(world.informer_cache, table, model_store.effects, world.clock).run()
    rows = await table.between(SINCE, NOON + 2 * DAY)
    learned = {row.start_time: row.learned_multiplier for row in rows if row.start_time in SALES}
    assert len(learned) == len(SALES)
    assert list(learned.values()) == [pytest.approx(2.0, rel=0.3)] * len(SALES)
    assert [row.learned_multiplier for row in rows if row.start_time not in SALES] == [None, None]
    # An event that is recorded again keeps its learned multiplier.
    await table.record([a_sale(start) for start in SALES])
    rows_after = await table.between(SINCE, NOON)
    assert {row.start_time: row.learned_multiplier for row in rows_after if row.start_time in SALES} == learned


async def test_the_effect_of_earlier_sales_is_in_the_status_of_the_next(database: Database, tmp_path: Path) -> None:
    series = await history(database).demand(KEY, SINCE, NOON, BIN)
    publish(Registry(tmp_path), KEY, learn(series, SMALL_MODEL), NOON)
    model_store = ModelStore(tmp_path, timeout_seconds=60)
    assert (await model_store.refresh()).rejected == ()

    world = World()
    event = an_event("sale", NOON + DAY, NOON + DAY + DURATION, type="flash-sale")
    path = "/apis/predictive-scaling.io/v1alpha1/namespaces/shop/businessevents/sale"
    world.cluster.objects[path] = {"metadata": {"name": "sale", "resourceVersion": "1"}}
    world.event_records["shop", "sale"] = [EventRecord("shop", "sale", "event-uid", 1, 1, NOON, {}, event)]
    job = BusinessEventController(
        world.cluster, world.informer_cache, BusinessEvents(database), world.clock, lambda: True, model_store.effects
    )
    await job.run()
    learned = world.cluster.objects[path]["status"]["learned"]
    assert learned["samples"] == len(SALES)
    assert float(learned["multiplier"]) == pytest.approx(2.0, rel=0.15)
    assert float(learned["low"]) < float(learned["multiplier"]) < float(learned["high"])
    writes = len(world.cluster.writes)
    await job.run()
    assert len(world.cluster.writes) == writes, "an unchanged status is not written again"
