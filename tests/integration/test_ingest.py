"""From a real Kafka to a real PostgreSQL: nothing lost, nothing doubled."""

import asyncio
import json
import random
import signal
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from predictive_scaling.clock import WallClock
from predictive_scaling.errors import IngestRunningError, SettingsError
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.ingest.rewind import Rewound, rewind
from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.ingest_offsets import IngestOffsets
from tests.support.eventually import eventually
from tests.support.ingesting import Place, ingesting, received, rows, run, scalar, send

pytestmark = pytest.mark.integration

START = WallClock().now().replace(second=0, microsecond=0) - timedelta(hours=6)
COUNT = "select count(*) from metrics_raw"


@pytest.fixture
async def place(
    kafka: Kafka, topic: str, dead_letter_topic: str, migrated_database_url: str, tmp_path: Path
) -> AsyncGenerator[Place]:
    place = Place(kafka.bootstrap_servers, topic, dead_letter_topic, migrated_database_url, tmp_path / "ingest.log")
    yield place
    print(place.log.read_text() if place.log.exists() else "never ran")


def a_sample(number: int, **differences: Any) -> dict[str, Any]:
    """A sample each 5 seconds, of two pods in turn."""
    at = START + timedelta(seconds=5 * number)
    sample = {
        "service_name": "checkout",
        "metric_name": "requests_per_second",
        "value": number,
        "timestamp": at.isoformat(),
        "labels": {"pod": str(number % 2)},
    }
    return sample | differences


async def all_in(place: Place, count: int) -> None:
    await eventually(lambda: scalar(place, COUNT), lambda found: found >= count, seconds=40)
    assert await scalar(place, COUNT) == count


async def next_offsets(place: Place) -> int:
    return await scalar(place, "select coalesce(sum(next_offset), 0) from ingest_offsets")


async def test_samples_come_in_and_the_process_says_so_until_it_is_told_to_stop(place: Place) -> None:
    await send(place, [a_sample(number) for number in range(100)])
    async with ingesting(place) as ingester:
        await all_in(place, 100)
        assert await next_offsets(place) == 100
        sums = "select sum(sum), sum(count), count(*) from metrics_1m"
        assert await rows(place, sums) == [(4950.0, 100, 18)]
        health, text = await ingester.get("/health")
        assert (health, json.loads(text)["status"]) == (200, "healthy")
        assert (await ingester.get("/health/ready"))[0] == 200
        assert (await ingester.get("/health/live"))[0] == 200
        assert await ingester.metric('predictive_scaling_ingest_samples_total{outcome="new"}') == 100
        assert await ingester.metric("kafka_consumer_lag{") == 0
        assert await ingester.terminate() == 0
    assert await run(place, "migrate") == (0, "the schema is up to date\n")


@pytest.mark.parametrize("point", ["ingest.before_commit", "ingest.after_commit"])
async def test_a_kill_before_or_after_the_commit_loses_nothing_and_doubles_nothing(place: Place, point: str) -> None:
    await send(place, [*[a_sample(number) for number in range(300)], b"poison"])
    async with ingesting(place, PREDICTIVE_SCALING_FAULT=point) as ingester:
        assert await ingester.ended() == -signal.SIGKILL
    written = await scalar(place, COUNT)
    assert (written > 0) == (point == "ingest.after_commit")
    await send(place, [a_sample(300)])
    async with ingesting(place) as ingester:
        await all_in(place, 301)
        await eventually(lambda: next_offsets(place), lambda offset: offset == 302)
        assert await ingester.terminate() == 0
    assert await rows(place, "select sum(sum), sum(count) from metrics_1m") == [(45150.0, 301)]
    assert await scalar(place, "select count(*) from dead_letters") == 1


async def test_poison_is_set_aside_with_its_reason_and_stops_nothing(place: Place) -> None:
    poison: list[bytes | dict[str, Any]] = [
        b"\x1f\x8bgzip",
        a_sample(1, value=float("nan")),
        a_sample(1, value="abc"),
        a_sample(1, timestamp="2005-01-01T00:00:00Z"),
        a_sample(1, timestamp=(WallClock().now() + timedelta(days=7)).isoformat()),
        {"value": 1},
        b"x" * 500_000,
        a_sample(1, service_name="a\x00b"),
        b"\xff\xfe\xff",
    ]
    good = [a_sample(number) for number in range(200)]
    mixed = [
        message
        for number, sample in enumerate(good)
        for message in ([sample, poison[number]] if number < 9 else [sample])
    ]
    await send(place, mixed)
    async with ingesting(place) as ingester:
        await all_in(place, 200)
        await eventually(lambda: scalar(place, "select count(*) from dead_letters"), lambda count: count == 9)
        reasons = dict(await rows(place, "select reason, count(*) from dead_letters group by reason"))
        assert reasons == {
            "undecodable": 2,
            "not_finite": 1,
            "not_a_number": 1,
            "timestamp_out_of_range": 2,
            "missing_field": 1,
            "too_large": 1,
            "invalid_name": 1,
        }
        assert await rows(place, "select max(length(raw)), max(raw_size) from dead_letters") == [(4096, 500_000)]
        assert await ingester.metric("predictive_scaling_ingest_dead_letters_total{") == 9
    letters = await received(place, 9)
    assert sorted(letter["reason"] for letter in letters) == sorted(
        reason for reason, count in reasons.items() for _ in range(count)
    )
    positions = "select partition::text, message_offset::text from dead_letters"
    assert {(letter["partition"], letter["offset"]) for letter in letters} == set(await rows(place, positions))


async def test_late_doubled_and_disordered_samples_give_the_rollups_of_sorted_ones(place: Place) -> None:
    chance = random.Random(7)
    samples = [a_sample(number, value=number % 17) for number in range(600)]
    sent = [*samples, *chance.sample(samples, 200)]
    chance.shuffle(sent)
    await send(place, sent[:400])
    async with ingesting(place, PREDICTIVE_SCALING_INGEST_BATCH_SIZE="70"):
        await send(place, sent[400:])
        await eventually(lambda: next_offsets(place), lambda offset: offset == 800)
    expected: dict[tuple[datetime, str], list[float]] = {}
    for sample in samples:
        minute = datetime.fromisoformat(sample["timestamp"]).replace(second=0)
        expected.setdefault((minute, sample["labels"]["pod"]), []).append(float(sample["value"]))
    found = await rows(
        place,
        "select minute, labels->>'pod', sum, count, min, max, last from metrics_1m "
        "join series using (service_name, metric_name, series)",
    )
    assert {(minute.astimezone(UTC), pod): tuple(values) for minute, pod, *values in found} == {
        key: (sum(values), len(values), min(values), max(values), values[-1]) for key, values in expected.items()
    }


async def test_a_restart_of_postgresql_is_waited_for(postgres: PostgreSQL, place: Place) -> None:
    await send(place, [a_sample(number) for number in range(50)])
    async with ingesting(place) as ingester:
        await all_in(place, 50)
        await postgres.stop()
        await send(place, [a_sample(number) for number in range(50, 150)])
        await eventually(lambda: ingester.metric("predictive_scaling_ingest_write_failures_total"), lambda n: bool(n))
        await eventually(lambda: ingester.metric("kafka_consumer_lag{"), lambda lag: lag == 100)
        assert (await ingester.get("/health/ready"))[0] == 503
        assert (await ingester.get("/health/live"))[0] == 200
        await postgres.start()
        await all_in(place, 150)
        assert await scalar(place, "select count(*) from dead_letters") == 0
        assert await ingester.terminate() == 0


async def test_a_restart_of_kafka_is_waited_for(kafka: Kafka, place: Place) -> None:
    if not kafka.is_real:
        pytest.skip("the mock cluster keeps nothing")
    await send(place, [a_sample(number) for number in range(50)])
    async with ingesting(place) as ingester:
        await all_in(place, 50)
        await kafka.stop()
        await kafka.start()
        await send(place, [a_sample(number) for number in range(50, 150)])
        await all_in(place, 150)
        assert await ingester.terminate() == 0


async def test_ingesters_that_come_and_go_lose_nothing_and_double_nothing(place: Place) -> None:
    batches = [[a_sample(number) for number in range(first, first + 500)] for first in range(0, 3000, 500)]

    async def produce() -> None:
        for number, batch in enumerate(batches):
            await send(place, batch, key=str(number))

    sending = asyncio.create_task(produce())
    async with ingesting(place):
        async with ingesting(place) as second:
            await eventually(lambda: scalar(place, COUNT), lambda count: count > 0)
            async with ingesting(place) as third:
                await third.up()
                assert await third.terminate() == 0
            assert await second.terminate() == 0
        await sending
        await all_in(place, 3000)
        await eventually(lambda: next_offsets(place), lambda offset: offset == 3000)
    assert await rows(place, "select sum(count), sum(sum) from metrics_1m") == [(3000, 4498500.0)]


async def test_a_topic_that_is_missing_and_later_made_again_is_read_from_its_beginning(
    kafka: Kafka, place: Place
) -> None:
    if not kafka.is_real:
        pytest.skip("the mock cluster cannot delete a topic")
    await delete_topic(place)
    async with ingesting(place) as ingester:
        await ingester.up()
        await eventually(lambda: ingester.get("/health"), lambda answer: "Kafka has no topic" in answer[1])
        await kafka.create_topic(place.topic, partitions=1)
        await send(place, [a_sample(number) for number in range(100)])
        await eventually(lambda: next_offsets(place), lambda offset: offset == 100, seconds=40)
        await delete_topic(place)
        await kafka.create_topic(place.topic, partitions=1)
        await send(place, [a_sample(number) for number in range(100, 110)])
        await all_in(place, 110)
        await eventually(lambda: next_offsets(place), lambda offset: offset == 10)
    assert "topic_recreated" in place.log.read_text()


async def delete_topic(place: Place) -> None:
    admin = AdminClient({"bootstrap.servers": place.bootstrap_servers})
    await asyncio.to_thread(admin.delete_topics([place.topic])[place.topic].result, 10)


async def test_rewinding_reads_again_and_doubles_nothing(place: Place) -> None:
    before = (WallClock().now() - timedelta(minutes=1)).isoformat()
    await send(place, [a_sample(number) for number in range(100)])
    async with ingesting(place) as ingester:
        await eventually(lambda: next_offsets(place), lambda offset: offset == 100)
        with pytest.raises(IngestRunningError, match="1 `predictive-scaling ingest` processes"):
            await set_back(place, WallClock().now())
        assert await ingester.terminate() == 0
    await rows(place, "delete from metrics_1m returning 1")
    await rows(place, "delete from metrics_raw where value < 50 returning 1")
    code, said = await run(place, "ingest", "rewind", "--to", before)
    assert (code, said.count("from 100 to 0")) == (0, 1)
    async with ingesting(place):
        await all_in(place, 100)
    assert await rows(place, "select sum(count) from metrics_1m") == [(50,)]


async def test_rewinding_reads_what_the_group_was_made_to_skip(place: Place) -> None:
    await send(place, [a_sample(number) for number in range(10)])
    async with ingesting(place) as ingester:
        await all_in(place, 10)
        assert await ingester.terminate() == 0
    then = WallClock().now()
    await send(place, [a_sample(number) for number in range(10, 20)])
    administration, group = KafkaAdministration(place.bootstrap_servers, {}), f"of-{place.topic}"
    offsets = dict(await rows(place, "select partition, next_offset from ingest_offsets"))
    (partition,) = [number for number, offset in offsets.items() if offset == 10]
    ends = offsets | {partition: 20}
    await administration.set_group_back(group, place.topic, ends)
    assert await administration.committed(group, place.topic, list(offsets)) == ends
    (rewound,) = await set_back(place, then)
    assert (rewound.partition, rewound.before) == (partition, 20)
    assert rewound.after <= 10
    async with ingesting(place):
        await all_in(place, 20)


async def test_going_back_further_than_samples_are_kept_is_refused(place: Place) -> None:
    with pytest.raises(SettingsError, match="retention of raw samples"):
        await set_back(place, WallClock().now() - timedelta(days=31))


async def set_back(place: Place, to: datetime) -> list[Rewound]:
    async with Database(place.database_url) as database:
        return await rewind(
            KafkaAdministration(place.bootstrap_servers, {}),
            IngestOffsets(database),
            topic=place.topic,
            group=f"of-{place.topic}",
            to=to,
            raw_retention=timedelta(days=30),
            clock=WallClock(),
        )


async def test_without_a_schema_it_says_what_to_run(place: Place) -> None:
    await rows(place, "delete from schema_migrations returning 1")
    async with ingesting(place) as ingester:
        assert await ingester.ended() == 78
    assert "run `predictive-scaling migrate`" in place.log.read_text()


async def test_a_value_that_the_database_refuses_is_narrowed_down_to_its_message(place: Place) -> None:
    same_minute = [a_sample(number, timestamp=START.isoformat()) for number in (0, 2)]
    huge = [sample | {"value": 1.7e308, "labels": {"pod": "0"}} for sample in same_minute]
    huge[1]["timestamp"] = (START + timedelta(seconds=1)).isoformat()
    await send(place, [*[a_sample(number) for number in range(40, 80)], *huge, *[a_sample(n) for n in range(80, 120)]])
    async with ingesting(place):
        await eventually(lambda: next_offsets(place), lambda offset: offset == 82)
    assert await rows(place, "select reason, count(*) from dead_letters group by 1") == [("refused_by_database", 1)]
    assert await scalar(place, COUNT) == 81
