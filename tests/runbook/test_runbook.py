"""Every command of docs/runbook.md, in order, on real servers: it exits with 0 and prints what the text promises."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

import pytest

from predictive_scaling.stack.aws import AWS
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
    "morning-health-check-1": [
        *(f"{service:<12}Up (healthy)" for service in ("api", "operator", "ingest", "trainer")),
        *(f"{service:<12}Up\n" for service in ("postgres", "redis")),
        "Nothing needs attention.",
    ],
    "morning-health-check-2": ["Nothing needs attention."],
    "morning-health-check-3": ["ready", "check                        good"],
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
    "demandstale-1": ["Up (healthy)", "partitions_assigned", '"status": "healthy"'],
    "sourcestale-1": ['"status": "healthy"'],
    "forecaststale-1": ["FORECAST", "checkout", "Z "],
    "fallbackactive-1": ["FALLBACK", "False"],
    "decisionsstuck-1": ["HOLDER"],
    "rb-001-api-unresponsive-1": ["live: 200", '"status":"healthy"', "Up (healthy)", "api_listening"],
    "rb-001-api-unresponsive-2": ["predictive_scaling_api_requests_total{", 'purpose="api",state="in_use"'],
    "rb-001-api-unresponsive-3": ["api has 2 instances", "restart: api"],
    "rb-001-api-unresponsive-4": ["200 in 0."],
    "rb-002-database-connection-issues-1": ["accepting connections", "the database answers"],
    "rb-002-database-connection-issues-2": ["allowed", "predictive-scaling-api", "waits_for"],
    "rb-002-database-connection-issues-4": ["ended"],
    "rb-002-database-connection-issues-6": ['"status":"healthy"', "accepting connections"],
    "rb-003-predictions-failing-1": ['"p90":', '"evidence":', "requests_per_second", "'time': '20"],
    "rb-003-predictions-failing-2": ['"rejected":[]', "restart: operator", "patched"],
    "rb-003-predictions-failing-3": ["condition met", "patched"],
    "rb-004-scaling-operations-failing-1": ['"decisions":[]', "NAME", "Ready=True"],
    "rb-004-scaling-operations-failing-2": ["no"],
    "rb-004-scaling-operations-failing-3": ['"MinSize": 2', '"Activities": ['],
    "rb-005-high-prediction-latency-1": ['_count{operation="serve"}', "PONG", "keyspace_hits:", "used_memory_human:"],
    "rb-005-high-prediction-latency-3": ["Execution Time", "ANALYZE"],
    "rb-005-high-prediction-latency-4": ["restart: redis"],
    "rb-006-kafka-issues-1": ["Leader: 1", "CONSUMER-ID", '"status": "healthy"'],
    "rb-006-kafka-issues-3": ["restart: ingest", "restart: kafka"],
    "rb-006-kafka-issues-4": ['"status": "healthy"', "requests_per_second"],
    "mp-002-model-retraining-1": ["mape_today", "mape_before"],
    "mp-002-model-retraining-2": ["web-shop", "checkout/requests_per_second/Sum", "WAPE"],
    "mp-002-model-retraining-3": ["requests_per_second/Sum", "WAPE"],
    "mp-002-model-retraining-4": ['"evidence":', '"reloaded":', '"mape":'],
    "useful-commands-1": ["FIELDS:", "requests_per_second", "PREDICTIVE_SCALING_TICK", '"events":[', "ForecastRose"],
    "pause-a-policy-1": ["condition met"],
    "pause-a-policy-2": ["condition met"],
    "pin-a-floor-1": ["condition met"],
    "take-minreplicas-out-of-a-manifest-1": ["serverside-applied"],
    "take-minreplicas-out-of-a-manifest-2": ["horizontalpodautoscaler.autoscaling/checkout"],
    "take-minreplicas-out-of-a-manifest-3": ["annotated"],
    "resume-after-a-conflict-1": ["condition met"],
    "see-what-safety-costs-1": ["condition met", "targetUtilization", '"in_use":true', '"hpa_only":'],
    "see-what-safety-costs-2": ["patched"],
    "clear-stuck-decisions-1": ['{"cleared":1}'],
    "reload-models-1": ['"reloaded":', '"rejected":[]'],
    "roll-a-model-back-1": ['"reloaded":', '"rejected":[]'],
    "skip-what-waits-1": ["NEW-OFFSET"],
    "read-samples-again-1": ["partition ", ": from "],
    "useful-queries-1": ["errors_per_second", "880", "ForecastRose", "no sample at all", "is_active"],
    "drop-old-samples-1": ["drop_chunks"],
    "look-from-inside-the-image-1": ["the database answers"],
    "look-from-inside-the-image-2": ["'time': '20", "'requests_per_second': {"],
    "mp-001-database-maintenance-1": ["VACUUM"],
    "mp-001-database-maintenance-2": ["REINDEX", "unusable", "(0 rows)"],
    "mp-001-database-maintenance-3": ["bloat_percent"],
    "mp-004-backup-and-restore-5": ["the schema is up to date"],
    "mp-004-backup-and-restore-6": ["newest_sample", "20", "newest_decision"],
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
    aws: AWS,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[RunbookEnvironment]:
    async with runbook_environment(
        cluster, postgres, kafka, redis_server, aws, tmp_path_factory.mktemp("runbook")
    ) as environment:
        yield environment


@asynccontextmanager
async def check_that_pending_samples_are_skipped(runbook: RunbookEnvironment) -> AsyncGenerator[None]:
    """A pending sample is skipped; the next one is stored."""
    await runbook.compose.stop("ingest")
    await runbook.send_errors_per_second(2.0)
    yield
    await runbook.compose.start("ingest")
    await runbook.send_errors_per_second(3.0)
    await eventually(runbook.errors_per_second, lambda values: values[-1] == 3.0)
    assert await runbook.errors_per_second() == [1.0, 3.0]


@asynccontextmanager
async def check_that_samples_are_read_again(runbook: RunbookEnvironment) -> AsyncGenerator[None]:
    """The skipped sample is stored, and no sample twice."""
    await runbook.compose.stop("ingest")
    yield
    await runbook.compose.start("ingest")
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


NOT_RUN = {
    "rb-002-database-connection-issues-3": "pg_stat_statements",
    "rb-005-high-prediction-latency-2": "containers",
}
"""Blocks that do not run on the local stack, with a word of the reason that the runbook states above them."""

REPEATABLE = {
    "morning-health-check-1",
    "morning-health-check-2",
    "morning-health-check-3",
    "rb-001-api-unresponsive-1",
    "rb-001-api-unresponsive-4",
    "rb-002-database-connection-issues-1",
    "rb-003-predictions-failing-1",
    "rb-005-high-prediction-latency-1",
    "rb-006-kafka-issues-1",
    "rb-006-kafka-issues-4",
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
    if block.not_run is not None:
        pytest.skip(f"does not run on the local stack: {block.not_run}")
    if not runbook.kafka.is_real and ("kafka" in block.text or "rewind" in block.text):
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


def test_only_the_listed_blocks_do_not_run_and_each_says_why() -> None:
    reasons = {block.name: block.not_run for block in BLOCKS if block.not_run is not None}
    assert reasons.keys() == NOT_RUN.keys()
    assert all(word in reasons[name] for name, word in NOT_RUN.items())


def test_every_expectation_names_a_block() -> None:
    assert {*EXPECTED_OUTPUT, *REPEATABLE, *CHECKS_AROUND} <= {block.name for block in BLOCKS}
    assert {block.language for block in BLOCKS} == {"bash", "sql", "python"}
