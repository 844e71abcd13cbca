"""The plans of the frequent statements on realistic volumes: none reads a large table from beginning to end.

The statements are those of the storage modules: each is explained before it is executed.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.rows import TupleRow, tuple_row

from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.data_quality import DataQuality
from predictive_scaling.storage.database import Connection, Database
from predictive_scaling.storage.dead_letters import DeadLetters
from predictive_scaling.storage.decision_lists import PAGE_OF_NAMESPACES, DecisionLists
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.model_performance import ModelPerformances
from predictive_scaling.storage.namespaces import Namespaces
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.storage.replica_history import ReplicaHistory
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.samples import Samples
from predictive_scaling.storage.scaling_decisions import ScalingDecisions
from predictive_scaling.storage.series_catalog import SeriesCatalog
from predictive_scaling.storage.shadow_hours import ShadowHours, ShadowKey

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SERVICES = 100

# 100 services with one policy each in 50 namespaces; the spans are shorter than the retention, and the shares the same.
FILL: dict[str, LiteralString] = {
    "metrics_1m": """insert into metrics_1m
        select minute, 'service-' || n, 'requests', 1, 10, 1, 10, 10, 10, minute
        from generate_series(0, 99) as n,
            generate_series(timestamptz '2026-11-24 00:00Z', '2026-11-24 11:59Z', interval '1 minute') as minute""",
    "series": """insert into series
        select 'service-' || n, 'requests', s, '{"pod": "a"}', date '2026-11-24' - s * 4, n < 10
        from generate_series(0, 99) as n, generate_series(0, 99) as s""",
    "sample_arrivals": """insert into sample_arrivals
        select 'service-' || n, 'requests', timestamptz '2026-11-24 12:00Z' - h * interval '1 hour', 60, 1, 0.5
        from generate_series(0, 99) as n, generate_series(0, 239) as h""",
    "predictions": """insert into predictions
        select made, made + bin * interval '5 minutes', 1, 2, 3, 4, 5, 2, 3, 4, 5, 'FreshForecast', 'service-' || n,
            'team-' || n % 50, 'policy-' || n, 'LightGBM', '1'
        from generate_series(timestamptz '2026-11-23 12:00Z', '2026-11-24 12:00Z', interval '15 minutes') as made,
            generate_series(0, 99) as n, generate_series(0, 5) as bin""",
    "current_predictions": """insert into current_predictions
        select 'team-' || n % 50, 'policy-' || n, 'service-' || n, timestamptz '2026-11-24 12:00Z',
            timestamptz '2026-11-24 13:00Z', 'FreshForecast', 'LightGBM', '1', array(select timestamptz
            '2026-11-24 12:00Z' + bin * interval '5 minutes' from generate_series(0, 35) as bin), q, q, q, q, q, q, q,
            q, q
        from generate_series(0, 1999) as n, lateral (select array(select n + random() from generate_series(1, 36))
            as q) as quantiles""",
    "scaling_decisions": """insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid,
            generation, target, decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason,
            message, mode, attempts, finished_at, deadline_at, limits)
        select step::text, at, 'service-' || step % 100, 'team-' || step % 50, 'policy-' || step % 100, 'uid', 1,
            'hpa/x', 'scale_up', case when step % 20000 = 7 then 'failed' when step % 20000 = 9 then 'verifying'
            else 'succeeded' end, 1, 2, 2, 'Forecast', 'ForecastRose', 'It rose.', 'Auto', 1, at, at, '{}'
        from generate_series(0, 39999) as step,
            lateral (select timestamptz '2026-11-24 12:00Z' - step * interval '5 minutes' as at) as made""",
    "model_performance": """insert into model_performance (created_at, model_name, model_version, service_name,
            namespace, policy, period, samples, absolute_error, error, demand, relative_error, relative_samples,
            covered_p50, covered_p80, covered_p90, covered_p95, covered, quantile, since, until)
        select at, 'LightGBM', '1', 'service-' || n, 'team-' || n % 50, 'policy-' || n, '15 minutes', 3, 1, 1, 9, 1, 3,
            1, 2, 3, 3, 3, 0.9, at - interval '15 minutes', at
        from generate_series(0, 99) as n, generate_series(0, 199) as step,
            lateral (select timestamptz '2026-11-24 12:00Z' - step * interval '2 hours' as at) as scored""",
    "business_events": """insert into business_events
        select 'team-' || n % 50, 'event-' || n, 'sale', at, at + interval '2 hours', 2, null, 0, '{}', at, null, at
        from generate_series(0, 49) as n, generate_series(-20, 379) as step,
            lateral (select timestamptz '2026-11-24 12:00Z' - step * interval '1 day' as at) as starts""",
    "dead_letters": """insert into dead_letters
        select 'metrics.raw', 0, n, 'id', 'undecodable', 'It is no JSON.', 'x', 1,
            timestamptz '2026-11-24 12:00Z' - n * interval '1 minute'
        from generate_series(0, 9999) as n""",
    "ingest_history": """insert into ingest_history
        select 'metrics.raw', n, timestamptz '2026-11-24 12:00Z' - m * interval '1 minute', m
        from generate_series(0, 3) as n, generate_series(0, 2499) as m""",
    "shadow_hours": """insert into shadow_hours
        select 'team-' || n % 50, 'policy-' || n, at, at + interval '1 hour', 'uid', 'hpa/x', 100, 180, 60, 60, 0, 0, 1,
            1, decode('789c030000000001', 'hex')
        from generate_series(0, 99) as n, generate_series(1, 100) as step,
            lateral (select timestamptz '2026-11-24 12:00Z' - step * interval '1 hour' as at) as hours""",
    "replica_history": """insert into replica_history
        select 'team-' || n % 50, 'policy-' || n, timestamptz '2026-11-24 12:00Z' - step * interval '1 hour', 3, 3, 3
        from generate_series(0, 99) as n, generate_series(0, 99) as step""",
    "policies": """insert into policies (namespace, policy, service_name, metric_name, aggregation, mode, target,
            min_replicas, max_replicas, limited, conditions, updated_at)
        select 'team-' || n % 50, 'policy-' || n, 'service-' || n, 'requests', 'Sum', 'Auto', 'hpa/x', 1, 9, false,
            '[]', '2026-11-24 12:00Z' from generate_series(0, 99) as n""",
}
SMALL = {"policies", "business_event_schedules", "commands", "backtests", "backtest_results"}
"""Tables with a row per object of the cluster, or with few rows: reading all of them is right."""

Plan = dict[str, Any]
_plans: ContextVar[list[Plan] | None] = ContextVar("plans", default=None)


class ExplainingCursor(psycopg.AsyncCursor[TupleRow]):
    """Adds the plan of each statement that it executes to the plans that the test collects."""

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        plans = _plans.get()
        if plans is not None and str(query).split(maxsplit=1)[0] in ("select", "with", "insert", "delete", "update"):
            cursor = psycopg.AsyncCursor(self.connection, row_factory=tuple_row)
            await cursor.execute("explain (format json) " + query, params)
            row = await cursor.fetchone()
            assert row is not None
            plans.append(row[0][0]["Plan"])
        return await super().execute(query, params, **options)


class ExplainingDatabase(Database):
    """A database whose statements are explained."""

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        async with super().connection() as connection:
            connection.cursor_factory = ExplainingCursor
            yield connection


@pytest.fixture(scope="module")
async def filled_url(postgres: PostgreSQL, database_template: str) -> AsyncGenerator[str]:
    """A database with 100 services, which only retention changes."""
    url = await postgres.create_database("plans", database_template)
    async with Database(url, purpose="tests") as database:
        await Samples(database).prepare([NOW, NOW - DAY])
        async with database.connection() as connection:
            await connection.execute("set local synchronous_commit = off")
            for statement in FILL.values():
                await connection.execute(statement)
            await connection.execute("analyze")
    yield url
    await postgres.drop_database("plans")


@pytest.fixture
async def database(filled_url: str) -> AsyncGenerator[Database]:
    """A connection pool that explains its statements."""
    async with ExplainingDatabase(filled_url, purpose="tests") as database:
        yield database


KEYS = [SeriesKey(f"service-{number}", "requests") for number in range(0, SERVICES, 4)]
POLICY = ("team-7", "policy-7")

QUERIES: dict[str, Callable[[Database], Awaitable[object]]] = {
    "demand of many services": lambda db: Demand(db).minutes(KEYS, NOW - 3 * HOUR, NOW),
    "restarts of counters": lambda db: Demand(db).resets(KEYS, NOW - HOUR, NOW),
    "demand of a service": lambda db: Demand(db).of_service("service-7", NOW - HOUR, NOW),
    "recorded metrics": lambda db: Demand(db).recorded(NOW - DAY),
    "series of services": lambda db: Samples(db).series(["service-7", "service-8"], (NOW - DAY).date()),
    "active services": lambda db: Samples(db).services((NOW - DAY).date()),
    "metrics of a service": lambda db: SeriesCatalog(db).metrics(NOW, DAY, service="service-7"),
    "page of all metrics": lambda db: SeriesCatalog(db).metrics(NOW, DAY, limit=20),
    "newest demand": lambda db: DataQuality(db).newest_sample(NOW - DAY),
    "data quality": lambda db: DataQuality(db).of_policies(NOW, HOUR, namespaces=["team-7"]),
    "current forecasts of a service": lambda db: Predictions(db).current(NOW, NOW - HOUR, 50, service="service-7"),
    "current forecasts of services": lambda db: Predictions(db).current_of(
        ["service-7", "service-8", "unknown"], NOW, NOW - HOUR, 50
    ),
    "page of current forecasts": lambda db: Predictions(db).current(NOW, NOW - HOUR, 50),
    "current forecasts of namespaces": lambda db: Predictions(db).current(
        NOW, NOW - HOUR, 50, namespaces=["team-7", "team-9"]
    ),
    "newest points of a service": lambda db: Predictions(db).newest(NOW, NOW - HOUR, "service-7"),
    "forecasts of a service in a window": lambda db: Predictions(db).between("service-7", NOW - 2 * HOUR, NOW),
    "policies of a service in a window": lambda db: Predictions(db).policies_between(
        "service-7", NOW - 2 * HOUR, NOW, 50
    ),
    "forecasts ahead of a policy": lambda db: Predictions(db).ahead(15 * MINUTE, NOW - HOUR, NOW, POLICY),
    "forecasts at intervals": lambda db: Predictions(db).at_intervals(
        *POLICY, since=NOW - DAY, until=NOW, interval=15 * MINUTE, reach=30 * MINUTE
    ),
    "decisions": lambda db: DecisionLists(db).page(5),
    "decisions of a service": lambda db: DecisionLists(db).page(50, service="service-7"),
    "newest decisions of services": lambda db: DecisionLists(db).newest_of(["service-7", "service-8", "unknown"], 5),
    "decisions of a service without any": lambda db: DecisionLists(db).page(50, service="unknown"),
    "decisions of a phase": lambda db: DecisionLists(db).page(50, phase=DecisionPhase.FAILED),
    "decisions of a namespace": lambda db: DecisionLists(db).page(50, namespaces=["team-7"]),
    "decisions of namespaces without any": lambda db: DecisionLists(db).page(50, namespaces=["x", "y", "z"]),
    "decisions of a service in namespaces": lambda db: DecisionLists(db).page(
        50, service="service-7", namespaces=["team-7", "team-8"]
    ),
    "failed decisions of namespaces": lambda db: DecisionLists(db).page(
        50, phase=DecisionPhase.FAILED, namespaces=["team-7", "team-8"]
    ),
    "newest decision of each policy": lambda db: ScalingDecisions(db).last_of_each([POLICY, ("team-8", "policy-8")]),
    "decisions of the last period of each policy": lambda db: ScalingDecisions(db).since_of_each(
        {POLICY: NOW - HOUR, ("team-8", "policy-8"): NOW - DAY}
    ),
    "unfinished decisions": lambda db: ScalingDecisions(db).unfinished(),
    "stuck decisions": lambda db: DecisionLists(db).count_stuck(NOW),
    "share of successes": lambda db: DecisionLists(db).success_rate(NOW - DAY),
    "namespaces": lambda db: Namespaces(db).all(),
    "events in a window": lambda db: BusinessEvents(db).between(NOW - DAY, NOW + DAY),
    "page of events": lambda db: BusinessEvents(db).page(NOW - DAY, NOW + DAY, 50, namespaces=["team-7"]),
    "page of past events": lambda db: BusinessEvents(db).page(NOW - 301 * DAY, NOW - 300 * DAY, 50),
    "names of planned events": lambda db: BusinessEvents(db).names(),
    "accuracy of services": lambda db: ModelPerformances(db).by_service(NOW - DAY, NOW),
    "scored intervals": lambda db: ModelPerformances(db).scored(NOW - HOUR),
    "shadow account": lambda db: ShadowHours(db).accounts([ShadowKey(*POLICY, "uid", "hpa/x")], NOW - DAY),
    "replicas of a policy": lambda db: ReplicaHistory(db).of_policy(*POLICY, NOW - HOUR, NOW),
    "dead letters by reason": lambda db: DeadLetters(db).counts(NOW - HOUR),
}


def scanned_tables(plan: Plan) -> Iterator[str]:
    """Return the tables that a plan reads from beginning to end."""
    return (node["Relation Name"] for node in _nodes(plan) if node["Node Type"] == "Seq Scan")


def _nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


async def plans_of(work: Awaitable[object]) -> Sequence[Plan]:
    plans: list[Plan] = []
    token = _plans.set(plans)
    try:
        await work
    finally:
        _plans.reset(token)
    return plans


@pytest.mark.parametrize("query", QUERIES)
async def test_a_frequent_query_reads_no_large_table_from_beginning_to_end(database: Database, query: str) -> None:
    plans = await plans_of(QUERIES[query](database))
    assert plans
    assert set().union(*map(scanned_tables, plans)) <= SMALL


async def test_retention_finds_expired_rows_by_an_index(database: Database) -> None:
    plans = await plans_of(Retention(database, 29 * DAY, 399 * DAY).apply(NOW))
    assert len(plans) > 10
    # A row per policy, which changes with each forecast: an index on its time would cost more than this reads.
    assert set().union(*map(scanned_tables, plans)) <= SMALL | {"current_predictions"}


async def test_a_page_of_a_namespace_reads_no_rows_of_others(filled_url: str) -> None:
    values = {"namespaces": ["team-7", "team-8"], "status": None, "service": None, "policy": None}
    async with Database(filled_url, purpose="tests") as database, database.connection() as connection:
        statement: Any = "explain (analyze, format json) " + PAGE_OF_NAMESPACES
        row = await (
            await connection.execute(statement, {**values, "created_at": None, "id": None, "limit": 6})
        ).fetchone()
    assert row is not None
    (scan,) = (node for node in _nodes(row[0][0]["Plan"]) if node.get("Relation Name") == "scaling_decisions")
    assert scan["Index Name"] == "scaling_decisions_by_namespace"
    assert scan["Actual Rows"] * scan["Actual Loops"] == 2 * 6
    assert scan.get("Rows Removed by Filter", 0) == 0
