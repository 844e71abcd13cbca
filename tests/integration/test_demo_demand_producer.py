import asyncio
import contextlib
from datetime import timedelta

import pytest
from confluent_kafka import Consumer

from predictive_scaling.clock import ManualClock
from predictive_scaling.ingest.formats.native import decode
from predictive_scaling.stack.demo.demand_producer import DemandProducer
from predictive_scaling.stack.demo.scenario import METRIC, SERVICE, DemoScenario, make_scenario
from predictive_scaling.stack.demo.workload import MINUTE, generated_workload
from predictive_scaling.stack.kafka import Kafka
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def scenario() -> DemoScenario:
    return make_scenario(generated_workload())


def consume_messages(kafka: Kafka, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    values = list[bytes]()
    try:
        while len(values) < count and (batch := consumer.consume(count - len(values), timeout=240)):
            values += [value for message in batch if (value := message.value()) is not None]
    finally:
        consumer.close()
    return values


async def test_the_complete_history_arrives_in_the_native_format(
    kafka: Kafka, topic: str, scenario: DemoScenario
) -> None:
    until = scenario.demand.start + timedelta(days=1)
    async with DemandProducer(kafka.bootstrap_servers, topic) as producer:
        sent = await producer.history(scenario, until)
    samples = [decode(value)[0] for value in await asyncio.to_thread(consume_messages, kafka, topic, sent)]
    assert [(sample.time, sample.value) for sample in samples] == scenario.samples(scenario.demand.start, until)
    assert {(sample.service_name, sample.metric_name) for sample in samples} == {(SERVICE, METRIC)}


async def test_the_sample_of_a_minute_is_sent_at_its_end(kafka: Kafka, topic: str, scenario: DemoScenario) -> None:
    clock = ManualClock(scenario.begins_at)
    async with DemandProducer(kafka.bootstrap_servers, topic) as producer:
        replay = asyncio.create_task(producer.replay(scenario, scenario.begins_at, clock))

        async def minutes() -> int:
            return (clock.now() - scenario.begins_at) // MINUTE

        passed_minutes = await eventually(minutes, lambda count: count >= 3, interval_seconds=0)
        replay.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await replay
    first = decode((await asyncio.to_thread(consume_messages, kafka, topic, 1))[0])[0]
    assert first.time == scenario.begins_at
    assert first.value == scenario.demand_at(scenario.begins_at)
    assert passed_minutes >= 3
