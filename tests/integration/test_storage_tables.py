"""What each table's module promises, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from predictive_scaling.errors import InvalidCursorError
from predictive_scaling.storage.business_events import BusinessEventRow, BusinessEvents
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.dead_letters import DeadLetter, DeadLetters, keep
from predictive_scaling.storage.demand import Demand, DemandKey
from predictive_scaling.storage.ingest_offsets import IngestOffset, IngestOffsets, advance
from predictive_scaling.storage.model_performance import ModelPerformance, ModelPerformances
from predictive_scaling.storage.policies import Policies, PolicyRow
from predictive_scaling.storage.predictions import AT_INTERVALS, Prediction, Predictions
from predictive_scaling.storage.samples import Sample, Samples, SeriesKey, series_of
from predictive_scaling.storage.scaling_decisions import DecisionStatus, ScalingDecisionRow, ScalingDecisions
from predictive_scaling.storage.tunings import TuningRow, Tunings
from predictive_scaling.tuning.recent import RECORDED

pytestmark = pytest.mark.integration

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def database(migrated_database_url: str) -> AsyncGenerator[Database]:
    async with Database(migrated_database_url, purpose="tests", max_size=4) as database:
        yield database


def a_sample(at: datetime, value: float, pod: str = "a", service: str = "checkout", metric: str = "requests") -> Sample:
    labels = {"pod": pod}
    return Sample(at, service, metric, series_of(labels), value, labels)


def a_decision(number: int = 1, **differences: object) -> ScalingDecisionRow:
    decision = ScalingDecisionRow(
        id=f"d{number}",
        created_at=NOW + number * MINUTE,
        service_name="checkout",
        namespace="shop",
        policy="checkout",
        policy_uid="uid",
        generation=1,
        target="HorizontalPodAutoscaler/checkout",
        decision_type="scale_up",
        status="pending",
        from_replicas=4,
        to_replicas=9,
        uncapped_replicas=12,
        source="Forecast",
        reason="ForecastRises",
        message="Raised.",
        mode="Auto",
        deadline_at=NOW + timedelta(hours=1),
        forecast={"quantile": "0.9", "value": 4.5},
        limits=["ScaleUpStep"],
    )
    return replace(decision, **differences)  # pyright: ignore[reportArgumentType] (a builder: fields by name)


def a_prediction(made: datetime, target: datetime, p50: float = 10.0, policy: str = "checkout") -> Prediction:
    quantiles = (p50 / 2, p50, p50 * 1.1, p50 * 1.2, p50 * 1.3)
    return Prediction(
        made, policy, target, *quantiles, "lightgbm", "3", "shop", policy, "fresh", valid_until=made + 60 * MINUTE
    )


# demand


async def test_demand_of_a_minute_aggregates_the_means_of_its_series(database: Database) -> None:
    minute = NOW - MINUTE
    samples = [a_sample(minute, 10.0), a_sample(minute + timedelta(seconds=30), 20.0), a_sample(minute, 5.0, pod="b")]
    await Samples(database).record(samples)
    keys = [
        DemandKey("checkout", "requests", "Sum"),
        DemandKey("checkout", "requests", "Mean"),
        DemandKey("checkout", "requests", "Max"),
    ]
    found = await Demand(database).minutes(keys, minute, NOW)
    assert [found[key].tolist() for key in keys] == [[20.0], [10.0], [15.0]]


async def test_missing_minutes_are_nan_and_never_zero(database: Database) -> None:
    await Samples(database).record([a_sample(NOW - 3 * MINUTE, 0.0), a_sample(NOW - MINUTE, 7.0)])
    key, other = DemandKey("checkout", "requests"), DemandKey("unknown", "requests")
    found = await Demand(database).minutes([key, other], NOW - 4 * MINUTE + timedelta(seconds=30), NOW)
    np.testing.assert_array_equal(found[key], [np.nan, 0.0, np.nan, 7.0])
    np.testing.assert_array_equal(found[other], [np.nan] * 4)
    assert (await Demand(database).minutes([key], NOW, NOW - MINUTE))[key].shape == (0,)
    assert await Demand(database).minutes([], NOW - MINUTE, NOW) == {}


async def test_demand_of_many_keys_is_the_same_however_many_statements_it_takes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Samples(database).record([a_sample(NOW - MINUTE, n, service=f"s{n}") for n in range(9)])
    keys = [DemandKey(f"s{n}", "requests", kind) for n in range(9) for kind in ("Sum", "Max")]
    at_once = await Demand(database).minutes(keys, NOW - 2 * MINUTE, NOW)
    monkeypatch.setattr("predictive_scaling.storage.demand.CELLS_PER_STATEMENT", 9)
    piecewise = await Demand(database).minutes([*keys, keys[0]], NOW - 2 * MINUTE, NOW)
    for n, key in enumerate(keys):
        np.testing.assert_array_equal(at_once[key], [np.nan, n // 2])
        np.testing.assert_array_equal(piecewise[key], at_once[key])


async def test_recorded_metrics_are_found_without_knowing_their_names(database: Database) -> None:
    await Samples(database).record([a_sample(NOW, 1.0), a_sample(NOW - timedelta(days=9), 1.0, service="old")])
    assert await Demand(database).recorded(NOW - timedelta(days=1)) == [DemandKey("checkout", "requests")]


# samples


async def test_a_sample_that_comes_twice_counts_once_in_whatever_batch(database: Database) -> None:
    samples = Samples(database)
    first = [a_sample(NOW + timedelta(seconds=second), second) for second in (5, 30)]
    assert await samples.record([*first, first[0]]) == 2
    assert await samples.record([first[1], a_sample(NOW, 100.0)]) == 1
    async with database.connection() as connection:
        rows = await (
            await connection.execute("select sum, count, min, max, last, last_time from metrics_1m")
        ).fetchall()
    assert rows == [(135.0, 3, 5.0, 100.0, 30.0, NOW + timedelta(seconds=30))]


async def test_series_are_registered_with_the_last_day_they_were_seen(database: Database) -> None:
    samples = Samples(database)
    await samples.record(
        [a_sample(NOW, 1.0), a_sample(NOW - timedelta(days=2), 1.0), a_sample(NOW, 1.0, service="cart")]
    )
    assert await samples.series(["checkout"]) == {
        SeriesKey("checkout", "requests", series_of({"pod": "a"})): NOW.date(),
    }


# predictions


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


async def test_the_last_forecast_made_before_a_moment_or_a_lead_ahead_is_found(database: Database) -> None:
    predictions = Predictions(database)
    made = [a_prediction(NOW - lead * MINUTE, NOW, p50=float(lead)) for lead in (5, 15, 30)]
    await predictions.record(made)
    ahead = await predictions.ahead(15 * MINUTE, NOW, NOW + MINUTE, policy=("shop", "checkout"))
    assert ahead == [made[1]]
    assert await predictions.ahead(16 * MINUTE, NOW, NOW + MINUTE) == [made[2]]
    before = await predictions.last_before(
        "shop", "checkout", made_before=NOW - 15 * MINUTE, since=NOW, until=NOW + MINUTE
    )
    assert before == [made[2]]


# decisions


async def test_an_intent_is_recorded_once_under_its_id(database: Database) -> None:
    decisions = ScalingDecisions(database)
    assert await decisions.intend(a_decision())
    assert not await decisions.intend(a_decision(message="Another."))
    assert await decisions.unfinished() == [a_decision()]
    assert (await decisions.by_id(["d1", "d2"])) == {"d1": a_decision()}


async def test_a_decision_goes_its_way_and_a_finished_one_stays_as_it_ended(database: Database) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision())
    assert await decisions.transition("d1", DecisionStatus.EXECUTING, NOW)
    assert await decisions.transition("d1", DecisionStatus.EXECUTING, NOW + MINUTE)
    assert await decisions.transition("d1", DecisionStatus.VERIFYING, NOW + MINUTE, deadline_at=NOW + 9 * MINUTE)
    assert await decisions.transition("d1", DecisionStatus.SUCCEEDED, NOW + 2 * MINUTE, outcome="Ready.")
    assert not await decisions.transition("d1", DecisionStatus.FAILED, NOW + 3 * MINUTE)
    assert not await decisions.transition("unknown", DecisionStatus.FAILED, NOW)
    assert await decisions.last("shop", "checkout") == a_decision(
        status="succeeded",
        attempts=2,
        started_at=NOW,
        finished_at=NOW + 2 * MINUTE,
        deadline_at=NOW + 9 * MINUTE,
        outcome="Ready.",
    )
    assert await decisions.unfinished() == []


@pytest.mark.parametrize("status", [DecisionStatus.PENDING, DecisionStatus.VERIFYING, DecisionStatus.SUCCEEDED])
async def test_nothing_is_verified_that_was_not_executed(database: Database, status: DecisionStatus) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision())
    assert not await decisions.transition("d1", status, NOW)


async def test_pages_go_through_all_decisions_newest_first(database: Database) -> None:
    decisions = ScalingDecisions(database)
    for number in range(5):
        await decisions.intend(a_decision(number, created_at=NOW, service_name="cart" if number == 2 else "checkout"))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = await decisions.page(2, cursor=cursor)
        seen += [decision.id for decision in page.decisions]
        cursor = page.next_cursor
    assert seen == ["d4", "d3", "d2", "d1", "d0"]
    assert cursor is None
    assert [d.id for d in (await decisions.page(9, service="cart")).decisions] == ["d2"]
    assert (await decisions.page(9, status=DecisionStatus.FAILED)).decisions == []
    assert {key: row.id for key, row in (await decisions.last_of_each()).items()} == {("shop", "checkout"): "d4"}


@pytest.mark.parametrize("cursor", ["x", "%%%", "MjAyNi0xMS0yNCBkMQ", "ä", "AAAA"])
async def test_a_cursor_that_no_page_gave_is_refused(database: Database, cursor: str) -> None:
    with pytest.raises(InvalidCursorError, match="leave it out"):
        await ScalingDecisions(database).page(cursor=cursor)


async def test_what_is_stuck_past_its_deadline_can_be_seen_and_cleared(database: Database) -> None:
    decisions = ScalingDecisions(database)
    await decisions.intend(a_decision(1))
    await decisions.intend(a_decision(2, deadline_at=NOW + timedelta(hours=9)))
    late = NOW + timedelta(hours=2)
    assert [decision.id for decision in await decisions.stuck(late)] == ["d1"]
    assert await decisions.clear_stuck(late) == 1
    assert await decisions.stuck(late) == []
    cleared = (await decisions.by_id(["d1"]))["d1"]
    assert (cleared.status, cleared.finished_at) == ("cancelled", late)
    assert cleared.outcome == "Cleared: still pending after its deadline."


async def test_the_success_rate_counts_what_was_executed_and_ended(database: Database) -> None:
    decisions = ScalingDecisions(database)
    assert await decisions.success_rate(NOW) is None
    for number, end in enumerate([DecisionStatus.SUCCEEDED, DecisionStatus.SUCCEEDED, DecisionStatus.FAILED]):
        await decisions.intend(a_decision(number))
        await decisions.transition(f"d{number}", DecisionStatus.EXECUTING, NOW)
        await decisions.transition(f"d{number}", end, NOW + MINUTE)
    await decisions.intend(a_decision(9, status="recommended", finished_at=NOW + MINUTE))
    assert await decisions.success_rate(NOW) == pytest.approx(2 / 3)
    assert await decisions.success_rate(NOW + 2 * MINUTE) is None


# what the API reads


async def test_accuracy_is_weighted_by_samples(database: Database) -> None:
    performances = ModelPerformances(database)
    row = ModelPerformance(
        NOW, "lightgbm", "3", "checkout", "shop", "checkout", timedelta(hours=24), 0.2, 0.1, -0.05, 0.9, 30
    )
    other = replace(row, policy="cart", service_name="cart", mape=None, wape=0.4, samples=10)
    await performances.record([row, other, row])
    accuracy = await performances.accuracy(NOW)
    assert (accuracy.mape, accuracy.samples) == (pytest.approx(0.2), 40)
    assert accuracy.wape == pytest.approx((0.1 * 30 + 0.4 * 10) / 40)
    assert (await performances.accuracy(NOW, "cart")).wape == pytest.approx(0.4)
    assert (await performances.accuracy(NOW + MINUTE)).samples == 0
    assert await performances.latest(NOW) == [other, row]


async def test_policies_mirror_what_was_written_last(database: Database) -> None:
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
    assert [p.policy for p in await policies.all()] == ["checkout", "cart", "checkout"]
    assert await policies.all("checkout") == [
        replace(row, namespace="other"),
        replace(row, floor=9, forecast={"points": []}),
    ]
    assert await policies.forget_others([("shop", "checkout")], namespaces=["shop"]) == 1
    assert await policies.forget_others([("shop", "checkout")]) == 1
    assert await policies.forget_others([]) == 1


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


async def test_occurrences_keep_what_was_learned_and_a_deleted_event_keeps_its_past(database: Database) -> None:
    events = BusinessEvents(database)
    past = BusinessEventRow(
        "shop", "sale", "flash-sale", NOW - 3 * MINUTE, NOW - MINUTE, 2.5, None, 0, ["checkout"], NOW, 2.7
    )
    coming = replace(past, start_time=NOW + MINUTE, end_time=NOW + 3 * MINUTE, learned_multiplier=None)
    await events.record([past, coming])
    await events.record([replace(past, learned_multiplier=None, priority=5)])
    assert await events.between(NOW - 2 * MINUTE, NOW) == [replace(past, priority=5)]
    await events.forget("shop", "sale", NOW)
    assert await events.between(NOW - 9 * MINUTE, NOW + 9 * MINUTE) == [replace(past, priority=5)]


# commands


async def test_a_command_is_claimed_by_one_and_its_answer_reaches_who_waits(database: Database) -> None:
    commands = Commands(database)

    async def serve() -> None:
        async for _ in commands.listen():
            while command := await commands.claim(["reload_models"], NOW):
                assert await commands.claim(["reload_models"], NOW) is None
                await commands.answer(command.id, {"reloaded": command.arguments["names"]}, NOW)
                return

    serving = asyncio.create_task(serve())
    asked = await commands.ask("reload_models", {"names": ["a"]}, NOW)
    assert await commands.wait(asked, limit_seconds=10) == {"reloaded": ["a"]}
    await serving
    await commands.answer(asked, {"reloaded": []}, NOW)
    answered = await commands.by_id(asked)
    assert answered
    assert answered.answer == {"reloaded": ["a"]}


async def test_waiting_for_an_answer_takes_one_connection(migrated_database_url: str, database: Database) -> None:
    async with Database(migrated_database_url, max_size=1, checkout_timeout=timedelta(seconds=2)) as narrow:
        commands = Commands(narrow)
        asked = await commands.ask("reload_models", {}, NOW)
        waiting = asyncio.create_task(commands.wait(asked, limit_seconds=20))
        await Commands(database).answer(asked, {"reloaded": []}, NOW)
        assert await waiting == {"reloaded": []}
        assert await commands.by_id(asked)


async def test_a_command_that_no_one_answers_is_waited_for_only_so_long(database: Database) -> None:
    commands = Commands(database)
    asked = await commands.ask("reload_models", {}, NOW)
    assert await commands.wait(asked, limit_seconds=0.1) is None
    assert await commands.claim(["other"], NOW) is None
    assert await commands.claim(["reload_models"], NOW)
    assert await commands.claim(["reload_models"], NOW + timedelta(seconds=30)) is None
    assert await commands.claim(["reload_models"], NOW + 2 * MINUTE)
    assert await commands.claim(["reload_models"], NOW + timedelta(hours=2)) is None


# ingest's own


async def test_dead_letters_are_kept_once_with_the_beginning_of_the_message(database: Database) -> None:
    letter = DeadLetter("metrics.raw", 0, 7, "undecodable", "not JSON", b"x" * 10_000, 10_000, NOW)
    for topic_id in ("A", "A", "B"):
        async with database.connection() as connection:
            await keep(connection, [letter, replace(letter, offset=8, reason="missing_field")], topic_id)
    letters = DeadLetters(database)
    assert await letters.counts(NOW) == {"missing_field": 2, "undecodable": 2}
    assert await letters.newest(1) == [replace(letter, offset=8, reason="missing_field", raw=b"x" * 4096)]


async def test_offsets_only_move_on_until_they_are_set_back(database: Database) -> None:
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
    await offsets.set_back("metrics.raw", {0: 0}, NOW)
    assert (await offsets.of_topic("metrics.raw"))[0].next_offset == 0
    assert await offsets.at("metrics.raw", NOW + MINUTE) == {0: 0}
    await offsets.forget("metrics.raw", [0])
    assert await offsets.of_topic("metrics.raw") == {}
