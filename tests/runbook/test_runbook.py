"""Every command of docs/runbook.md, in order, on real servers: it exits with 0 and prints what the text promises."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

import pytest

from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.redis import Redis
from tests.runbook.environment import RunbookEnvironment, runbook_environment
from tests.support.documents import DOCS, Block, blocks
from tests.support.eventually import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.integration]

RUNBOOK = (DOCS / "runbook.md").read_text()
BLOCKS = blocks(RUNBOOK)

EXPECTED_OUTPUT = {
    "what-is-it-doing-now-1": ["Health: healthy", "Nothing needs attention."],
    "what-is-it-doing-now-2": ["checkout", "Ready=True TargetObserved", "ForecastRose", "FloorRaised", "match"],
    "what-is-it-doing-now-3": ['"status":"healthy"', '"floor":9', '"decisions":[]', '"p90":', '"accuracy":'],
    "apidown-1": ['"status":"healthy"'],
    "highpredictionlatency-1": ["application_name", "1 row"],
    "poorpredictionaccuracy-1": ["coverage"],
    "poorpredictionaccuracy-2": ["SeasonalNaive", '"evidence":', "patched"],
    "scalingfailures-1": ["Min replicas:", "deployment.apps/checkout"],
    "kafkaconsumerlag-1": ['"status": "healthy"', "LAG", "metrics.raw"],
    "kafkaconsumerlag-2": ["undecodable"],
    "databaseconnectionshigh-1": ["predictive-scaling-api", "predictive-scaling-operator", "max_connections"],
    "sourcestale-1": ['"status": "healthy"'],
    "forecaststale-1": ["FORECAST", "checkout", "Z "],
    "fallbackactive-1": ["FALLBACK", "False"],
    "decisionsstuck-1": ["HOLDER"],
    "pause-a-policy-1": ["condition met"],
    "pause-a-policy-2": ["condition met"],
    "pin-a-floor-1": ["condition met"],
    "take-minreplicas-out-of-a-manifest-1": ["serverside-applied"],
    "take-minreplicas-out-of-a-manifest-2": ["horizontalpodautoscaler.autoscaling/checkout"],
    "resume-after-a-conflict-1": ["condition met"],
    "see-what-safety-costs-1": ["condition met", "targetUtilization", '"in_use":true', '"hpa_only":'],
    "see-what-safety-costs-2": ["patched"],
    "clear-stuck-decisions-1": ['{"cleared":1}'],
    "reload-models-1": ['"reloaded":', '"rejected":[]'],
    "roll-a-model-back-1": ['"reloaded":', '"rejected":[]'],
    "skip-what-waits-1": ["NEW-OFFSET"],
    "read-samples-again-1": ["partition ", ": from "],
    "ask-the-database-1": ["errors_per_second", "880", "ForecastRose", "no sample at all"],
    "drop-old-samples-1": ["drop_chunks"],
    "look-from-inside-the-image-1": ["the database answers"],
    "look-from-inside-the-image-2": ["'time': '20", "'requests_per_second': {"],
    "stop-everything-1": ["scalingpolicy.predictive-scaling.io/checkout annotated"],
    "stop-everything-2": ["condition met", "deleted", "\n2\n"],
}
"""Fragments that the output of a block contains; the text promises those that it sets in code."""


@pytest.fixture(scope="module")
async def runbook(
    cluster: Kubernetes,
    postgres: PostgreSQL,
    kafka: Kafka,
    redis_server: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[RunbookEnvironment]:
    async with runbook_environment(
        cluster, postgres, kafka, redis_server, tmp_path_factory.mktemp("runbook")
    ) as environment:
        yield environment


@asynccontextmanager
async def check_that_pending_samples_are_skipped(runbook: RunbookEnvironment) -> AsyncGenerator[None]:
    """A pending sample is skipped; the next one is stored."""
    await runbook.stop_ingest()
    await runbook.send_errors_per_second(2.0)
    yield
    await runbook.start_ingest()
    await runbook.send_errors_per_second(3.0)
    await eventually(runbook.errors_per_second, lambda values: values[-1] == 3.0)
    assert await runbook.errors_per_second() == [1.0, 3.0]


@asynccontextmanager
async def check_that_samples_are_read_again(runbook: RunbookEnvironment) -> AsyncGenerator[None]:
    """The skipped sample is stored, and no sample twice."""
    await runbook.stop_ingest()
    yield
    await runbook.start_ingest()
    await eventually(runbook.errors_per_second, lambda values: values == [1.0, 2.0, 3.0])


@asynccontextmanager
async def insert_stuck_decision(runbook: RunbookEnvironment) -> AsyncGenerator[None]:
    """There is one stuck decision."""
    await runbook.insert_stuck_decision()
    yield


@asynccontextmanager
async def check_that_an_older_model_is_in_use(runbook: RunbookEnvironment) -> AsyncGenerator[None]:
    """The model in use is an older version than before."""
    version_before = runbook.model_in_use
    yield
    assert runbook.model_in_use < version_before


REPEATABLE = {
    "what-is-it-doing-now-1",
    "what-is-it-doing-now-2",
    "what-is-it-doing-now-3",
    "apidown-1",
    "kafkaconsumerlag-1",
    "look-from-inside-the-image-1",
}
"""Blocks that only read. A health check that exceeds its time limit on a starved machine succeeds the next time."""

CHECKS_AROUND = {
    "clear-stuck-decisions-1": insert_stuck_decision,
    "roll-a-model-back-1": check_that_an_older_model_is_in_use,
    "skip-what-waits-1": check_that_pending_samples_are_skipped,
    "read-samples-again-1": check_that_samples_are_read_again,
}
"""Preparations and checks for what the text around a block promises."""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
async def test_a_block_of_the_runbook_exits_with_0_and_prints_what_it_promises(
    runbook: RunbookEnvironment, block: Block
) -> None:
    if not runbook.kafka.is_real and ("kafka-consumer-groups.sh" in block.text or "rewind" in block.text):
        pytest.skip("the mock cluster has no admin tools; with Java and Maven a real broker runs")

    async def is_as_promised() -> bool:
        code, output = await runbook.run(block)
        assert code == 0, output
        for fragment in EXPECTED_OUTPUT.get(block.name, []):
            assert fragment in output
        return True

    async with CHECKS_AROUND.get(block.name, nullcontext)(runbook):
        if block.name in REPEATABLE:
            await eventually(is_as_promised)
        else:
            await is_as_promised()


def test_every_expectation_names_a_block() -> None:
    assert {*EXPECTED_OUTPUT, *REPEATABLE, *CHECKS_AROUND} <= {block.name for block in BLOCKS}
    assert {block.language for block in BLOCKS} == {"bash", "sql", "python"}
