"""The tables of demand, samples, scores, policies, events, commands and ingest on a real PostgreSQL."""

import asyncio
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.business_events import BusinessEventRow, BusinessEvents, EventName
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.dead_letters import DeadLetter, DeadLetters, keep
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.ingest_offsets import IngestOffset, IngestOffsets, advance
from predictive_scaling.storage.model_performance import ErrorSums, ModelPerformances, ScoredInterval
from predictive_scaling.storage.policies import Policies, PolicyRow
from predictive_scaling.storage.samples import Sample, Samples, SampleSeries, series_of
from tests.support.api_services import a_performance

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_sample(at: datetime, value: float, pod: str = "a", service: str = "checkout", metric: str = "requests") -> Sample:
    labels = {"pod": pod}
    return Sample(at, service, metric, series_of(labels), value, labels)


# demand


async def test_the_demand_of_a_minute_aggregates_the_means_of_its_series(database: Database) -> None:
    minute = NOW - MINUTE
    samples = [a_sample(minute, 10.0), a_sample(minute + timedelta(seconds=30), 20.0), a_sample(minute, 5.0, pod="b")]
    await Samples(database).record(samples)
    keys = [
        SeriesKey("checkout", "requests", "Sum"),
        SeriesKey("checkout", "requests", "Mean"),
        SeriesKey("checkout", "requests", "Max"),
    ]
    demand = await Demand(database).minutes(keys, minute, NOW)
    assert [demand[key].tolist() for key in keys] == [[20.0], [10.0], [15.0]]


async def test_missing_minutes_are_nan(database: Database) -> None:
    await Samples(database).record([a_sample(NOW - 3 * MINUTE, 0.0), a_sample(NOW - MINUTE, 7.0)])
    key, other = SeriesKey("checkout", "requests"), SeriesKey("unknown", "requests")
    demand = await Demand(database).minutes([key, other], NOW - 4 * MINUTE + timedelta(seconds=30), NOW)
    np.testing.assert_array_equal(demand[key], [np.nan, 0.0, np.nan, 7.0])
    np.testing.assert_array_equal(demand[other], [np.nan] * 4)
    assert (await Demand(database).minutes([key], NOW, NOW - MINUTE))[key].shape == (0,)
    assert await Demand(database).minutes([], NOW - MINUTE, NOW) == {}


async def test_the_demand_of_many_keys_does_not_depend_on_the_number_of_statements(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Samples(database).record([a_sample(NOW - MINUTE, number, service=f"s{number}") for number in range(9)])
    keys = [SeriesKey(f"s{number}", "requests", kind) for number in range(9) for kind in ("Sum", "Max")]
    one_statement = await Demand(database).minutes(keys, NOW - 2 * MINUTE, NOW)
    monkeypatch.setattr("predictive_scaling.storage.demand.CELLS_PER_STATEMENT", 9)
    many_statements = await Demand(database).minutes([*keys, keys[0]], NOW - 2 * MINUTE, NOW)
    for number, key in enumerate(keys):
        np.testing.assert_array_equal(one_statement[key], [np.nan, number // 2])
        np.testing.assert_array_equal(many_statements[key], one_statement[key])


async def test_recorded_metrics_are_listed(database: Database) -> None:
    await Samples(database).record([a_sample(NOW, 1.0), a_sample(NOW - timedelta(days=9), 1.0, service="old")])
    assert await Demand(database).recorded(NOW - timedelta(days=1)) == [SeriesKey("checkout", "requests")]


# samples


async def test_a_duplicate_sample_is_counted_once_in_any_batch(database: Database) -> None:
    samples = Samples(database)
    first = [a_sample(NOW + timedelta(seconds=second), second) for second in (5, 30)]
    assert await samples.record([*first, first[0]]) == 2
    assert await samples.record([first[1], a_sample(NOW, 100.0)]) == 1
    async with database.connection() as connection:
        rows = await (
            await connection.execute("select sum, count, min, max, last, last_time from metrics_1m")
        ).fetchall()
    assert rows == [(135.0, 3, 5.0, 100.0, 30.0, NOW + timedelta(seconds=30))]


async def test_series_are_registered_with_the_day_of_their_last_sample(database: Database) -> None:
    samples = Samples(database)
    await samples.record(
        [a_sample(NOW, 1.0), a_sample(NOW - timedelta(days=2), 1.0), a_sample(NOW, 1.0, service="cart")]
    )
    assert await samples.series(["checkout"], NOW.date()) == {
        SampleSeries("checkout", "requests", series_of({"pod": "a"})): NOW.date(),
    }


# scores, policies and events


async def test_an_interval_of_a_policy_is_scored_once(database: Database) -> None:
    performances = ModelPerformances(database)
    row = a_performance(until=NOW)
    await performances.record([row, replace(row, model_name="HoltWinters", created_at=NOW + MINUTE)])
    await performances.record([row])
    (scores,) = await performances.by_service(NOW - timedelta(hours=1), NOW)
    assert (scores.service_name, scores.model_name, scores.sums) == ("checkout", "LightGBM", row.sums)
    assert await performances.scored(row.since) == [ScoredInterval("shop", "checkout", row.since)]
    assert await performances.scored(row.since + MINUTE) == []


async def test_infinite_sums_are_added_without_an_overflow(database: Database) -> None:
    performances = ModelPerformances(database)
    infinite = ErrorSums(samples=3, absolute_error=math.inf, error=-math.inf, demand=1e308, relative_error=math.inf)
    rows = [a_performance(until=NOW - step * 15 * MINUTE, sums=infinite) for step in range(8)]
    await performances.record([*rows, a_performance("cart", until=NOW)])
    (cart, checkout) = await performances.by_service(NOW - timedelta(hours=3), NOW)
    assert cart.sums.wape == pytest.approx(0.1)
    assert checkout.sums.wape == pytest.approx(1.0)
    policies = await performances.by_policy(NOW - timedelta(hours=3), NOW)
    assert [policy.policy for policy in policies] == ["cart", "checkout"]


async def test_policies_contain_the_last_written_row(database: Database) -> None:
    policies = Policies(database)
    row = PolicyRow(
        namespace="shop",
        policy="checkout",
        service_name="checkout",
        metric_name="requests",
        aggregation="Max",
        mode="Auto",
        target="HorizontalPodAutoscaler/checkout",
        min_replicas=1,
        max_replicas=40,
        floor=None,
        current_replicas=4,
        ready_replicas=4,
        source=None,
        limited=False,
        conditions=[{"type": "Ready", "status": "True"}],
        last_decision_at=None,
        advice=None,
        forecast=None,
        updated_at=NOW,
        timezone="Europe/Paris",
        holidays="FR",
    )
    await policies.record([row, replace(row, policy="cart", service_name="cart"), replace(row, namespace="other")])
    await policies.record([replace(row, floor=9, forecast={"points": []})])
    assert [policy.policy for policy in await policies.all()] == ["checkout", "cart", "checkout"]
    assert await policies.all("checkout") == [
        replace(row, namespace="other"),
        replace(row, floor=9, forecast={"points": []}),
    ]
    assert await policies.forget_others([("shop", "checkout")], namespaces=["shop"]) == 1
    assert await policies.forget_others([("shop", "checkout")]) == 1
    assert await policies.forget_others([]) == 1


async def test_occurrences_keep_their_learned_multiplier_and_a_cancelled_event_its_past(database: Database) -> None:
    events = BusinessEvents(database)
    past = BusinessEventRow(
        "shop", "sale", "flash-sale", NOW - 3 * MINUTE, NOW - MINUTE, 2.5, None, 0, ["checkout"], NOW, 2.7, NOW
    )
    upcoming = replace(past, start_time=NOW + MINUTE, end_time=NOW + 3 * MINUTE, learned_multiplier=None)
    await events.record([past, replace(upcoming, confirmed_at=None)])
    await events.record([replace(past, learned_multiplier=None, confirmed_at=None, priority=5)])
    assert await events.between(NOW - 2 * MINUTE, NOW) == [replace(past, priority=5)]
    await events.cancel(EventName("shop", "sale"), NOW)
    assert await events.between(NOW - 9 * MINUTE, NOW + 9 * MINUTE) == [replace(past, priority=5)]


# commands


async def test_a_command_is_claimed_once_and_its_answer_returned_to_the_waiting_client(database: Database) -> None:
    commands = Commands(database)

    async def serve() -> None:
        async for _ in commands.listen():
            while command := await commands.claim(["reload_models"], NOW):
                assert await commands.claim(["reload_models"], NOW) is None
                await commands.answer(command.id, {"reloaded": command.arguments["names"]}, NOW)
                return

    serving = asyncio.create_task(serve())
    command_id = await commands.submit("reload_models", {"names": ["a"]}, NOW)
    assert await commands.wait(command_id, limit_seconds=240) == {"reloaded": ["a"]}
    await serving
    await commands.answer(command_id, {"reloaded": []}, NOW)
    command = await commands.by_id(command_id)
    assert command
    assert command.answer == {"reloaded": ["a"]}


async def test_waiting_for_an_answer_needs_one_connection(migrated_database_url: str, database: Database) -> None:
    async with Database(migrated_database_url, max_size=1, checkout_timeout=timedelta(seconds=60)) as single_connection:
        commands = Commands(single_connection)
        command_id = await commands.submit("reload_models", {}, NOW)
        waiting = asyncio.create_task(commands.wait(command_id, limit_seconds=240))
        await Commands(database).answer(command_id, {"reloaded": []}, NOW)
        assert await waiting == {"reloaded": []}
        assert await commands.by_id(command_id)


async def test_waiting_for_an_answer_has_a_time_limit(database: Database) -> None:
    commands = Commands(database)
    command_id = await commands.submit("reload_models", {}, NOW)
    assert await commands.wait(command_id, limit_seconds=0.1) is None
    assert await commands.claim(["other"], NOW) is None
    assert await commands.claim(["reload_models"], NOW)
    assert await commands.claim(["reload_models"], NOW + timedelta(seconds=30)) is None
    assert await commands.claim(["reload_models"], NOW + 2 * MINUTE)
    assert await commands.claim(["reload_models"], NOW + timedelta(hours=2)) is None


# ingest


async def test_a_dead_letter_is_recorded_once_with_the_beginning_of_its_message(database: Database) -> None:
    letter = DeadLetter("metrics.raw", 0, 7, "undecodable", "not JSON", b"x" * 10_000, 10_000, NOW)
    for topic_id in ("A", "A", "B"):
        async with database.connection() as connection:
            await keep(connection, [letter, replace(letter, offset=8, reason="missing_field")], topic_id)
    letters = DeadLetters(database)
    assert await letters.counts(NOW) == {"missing_field": 2, "undecodable": 2}
    assert await letters.newest(1) == [replace(letter, offset=8, reason="missing_field", raw=b"x" * 4096)]


async def test_offsets_only_increase_until_they_are_set_back(database: Database) -> None:
    offsets = IngestOffsets(database)

    async def read(first: int, end: int, at: datetime) -> None:
        async with database.connection() as connection:
            await advance(connection, "metrics.raw", "A", {0: (first, end)}, at)

    await read(0, 100, NOW)
    await read(100, 200, NOW + timedelta(seconds=30))
    await read(200, 300, NOW + MINUTE)
    await read(100, 200, NOW + MINUTE)
    assert await offsets.of_topic("metrics.raw") == {0: IngestOffset("metrics.raw", 0, 300, "A")}
    assert await offsets.at("metrics.raw", NOW + timedelta(seconds=59)) == {0: 0}
    assert await offsets.at("metrics.raw", NOW + MINUTE) == {0: 200}
    assert await offsets.at("metrics.raw", NOW - MINUTE) == {}
    await offsets.rewind("metrics.raw", {0: 0}, NOW)
    assert (await offsets.of_topic("metrics.raw"))[0].next_offset == 0
    assert await offsets.at("metrics.raw", NOW + MINUTE) == {0: 0}
    await offsets.forget("metrics.raw", [0])
    assert await offsets.of_topic("metrics.raw") == {}
