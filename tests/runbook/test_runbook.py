"""Every command of docs/runbook.md, run in its order against real parts: it ends with 0 and prints what is promised."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext

import pytest

from predictive_scaling.stack.kafka import Kafka
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.redis import Redis
from tests.runbook.stage import Stage, staged
from tests.support.documents import DOCS, Block, blocks
from tests.support.eventually import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.integration]

RUNBOOK = (DOCS / "runbook.md").read_text()
BLOCKS = blocks(RUNBOOK)

PRINTED = {
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
"""A key fragment of what a block prints; those that are set in code in the text are promised there."""


@pytest.fixture(scope="module")
async def stage(
    cluster: Kubernetes,
    postgres: PostgreSQL,
    kafka: Kafka,
    redis_server: Redis,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[Stage]:
    async with staged(cluster, postgres, kafka, redis_server, tmp_path_factory.mktemp("runbook")) as one:
        yield one


@asynccontextmanager
async def skipping_what_waits(stage: Stage) -> AsyncGenerator[None]:
    """A sample waits and is skipped; the next one arrives."""
    await stage.stop_ingest()
    await stage.send_errors_per_second(2.0)
    yield
    await stage.start_ingest()
    await stage.send_errors_per_second(3.0)
    await eventually(stage.errors_per_second, lambda found: found[-1] == 3.0)
    assert await stage.errors_per_second() == [1.0, 3.0]


@asynccontextmanager
async def reading_again(stage: Stage) -> AsyncGenerator[None]:
    """What was skipped is there, and nothing twice."""
    await stage.stop_ingest()
    yield
    await stage.start_ingest()
    await eventually(stage.errors_per_second, lambda found: found == [1.0, 2.0, 3.0])


@asynccontextmanager
async def clearing(stage: Stage) -> AsyncGenerator[None]:
    """One decision is stuck."""
    await stage.leave_a_decision_behind()
    yield


@asynccontextmanager
async def rolling_back(stage: Stage) -> AsyncGenerator[None]:
    """An older version comes into use."""
    newest = stage.model_in_use
    yield
    assert stage.model_in_use < newest


AROUND = {
    "clear-stuck-decisions-1": clearing,
    "roll-a-model-back-1": rolling_back,
    "skip-what-waits-1": skipping_what_waits,
    "read-samples-again-1": reading_again,
}
"""What the text around a block says of before and after."""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
async def test_a_block_of_the_runbook_works_as_written(stage: Stage, block: Block) -> None:
    if not stage.kafka.is_real and ("kafka-consumer-groups.sh" in block.text or "rewind" in block.text):
        pytest.skip("the mock cluster knows no admin tools; Java and Maven bring a real broker")
    async with AROUND.get(block.name, nullcontext)(stage):
        code, printed = await stage.run(block)
        assert code == 0, printed
    for fragment in PRINTED.get(block.name, []):
        assert fragment in printed


def test_what_is_expected_belongs_to_a_block() -> None:
    assert {*PRINTED, *AROUND} <= {block.name for block in BLOCKS}
    assert {block.language for block in BLOCKS} == {"bash", "sql", "python"}
