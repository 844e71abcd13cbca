"""The operator's background tasks on a real database: each fails in turn, and all others continue."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.bootstrap import Operator, assemble
from predictive_scaling.clock import WallClock, monotonic
from predictive_scaling.cluster.leadership import Leadership, LeaseTerms
from predictive_scaling.commands import supervision
from predictive_scaling.commands.supervision import run_until
from predictive_scaling.control.jobs.commands import CLEAR_STUCK, RELOAD_MODELS
from predictive_scaling.errors import DatabaseUnavailableError, LeadershipLostError, TaskEndedError
from predictive_scaling.ports import Databases, Ports
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.commands import Commands
from predictive_scaling.storage.database import Database
from tests.support.cluster import InMemoryCluster
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration

LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/predictive-scaling"
UNREACHABLE_DATABASE = "postgresql://nobody@127.0.0.1:1/nothing"


def settings_for(url: str, folder: Path) -> Settings:
    """Return settings that enable every task, including external metrics."""
    return read_settings(
        {},
        DATABASE_URL=url,
        models_dir=folder / "models",
        train_from_operator=False,
        external_metrics=True,
        external_metrics_certificate=folder / "tls.crt",
        external_metrics_key=folder / "tls.key",
        lease_namespace="default",
        host="127.0.0.1",
        external_metrics_port=1,
    )


class NoWatch:
    """A watch without an API server."""

    ended = False

    def __init__(self) -> None:
        self.stopped = False

    def start(self) -> None:
        return

    async def stop(self) -> None:
        self.stopped = True


async def task_names() -> list[str]:
    """Return the names of all tasks, so that a new task is tested without an entry here."""
    settings = settings_for(UNREACHABLE_DATABASE, Path("nowhere"))
    ports = Ports.of(settings, InMemoryCluster(), Databases.of(settings))
    return [task.name for task in assemble(settings, WallClock(), ports).tasks]


TASKS = asyncio.run(task_names())


@asynccontextmanager
async def an_operator(url: str, folder: Path) -> AsyncGenerator[tuple[Operator, InMemoryCluster, NoWatch]]:
    """Assemble the operator as in production, on a cluster in memory; every task runs twenty times a second."""
    settings, cluster, watch = settings_for(url, folder), InMemoryCluster(), NoWatch()
    databases = Databases.of(settings)
    operator = assemble(settings, WallClock(), Ports.of(settings, cluster, databases))
    operator.leadership.terms = LeaseTerms(duration_seconds=3600.0)
    operator.cache.is_complete = True
    for task in operator.tasks:
        task.every_seconds, task.max_pause_seconds = 0.05, 0.2
    object.__setattr__(operator, "watch", watch)
    try:
        yield operator, cluster, watch
    finally:
        await databases.close()


@pytest.fixture(autouse=True)
def exit_codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the forced end of a slow shutdown; returns the exit codes that it received."""
    codes: list[int] = []

    def record_exit_code(seconds: float, exit_code: int) -> None:
        del seconds
        codes.append(exit_code)

    monkeypatch.setattr(supervision, "end_process_after", record_exit_code)
    return codes


@asynccontextmanager
async def running(operator: Operator) -> AsyncGenerator[asyncio.Event]:
    stop = asyncio.Event()
    run = asyncio.create_task(run_until(stop, operator))
    try:
        yield stop
    finally:
        stop.set()
        await run


async def fail() -> None:
    raise RuntimeError("an unexpected error")


async def is_leader(operator: Operator) -> bool:
    return operator.leadership.leads


# It fails without an aggregation layer in the cluster, and does not affect others.
ALWAYS_FAILING = {"external_metrics"}
# One run lasts until the database is unavailable.
ENDLESS = {"commands"}


@pytest.mark.parametrize("name", TASKS)
async def test_a_failing_task_does_not_affect_others_and_the_lease_is_released(
    name: str, migrated_database_url: str, tmp_path: Path, exit_codes: list[int]
) -> None:
    async with an_operator(migrated_database_url, tmp_path) as (operator, cluster, watch):
        if name == "lease":
            await operator.leadership.campaign()
        operator.task(name).run = fail
        others = [task for task in operator.tasks if task.name not in {name, *ALWAYS_FAILING, *ENDLESS}]
        async with running(operator):
            await eventually(lambda: is_leader(operator))
            since = monotonic()

            async def all_others_succeeded() -> list[str]:
                return [other.name for other in others if (other.succeeded_at or 0.0) <= since]

            await eventually(all_others_succeeded, lambda pending: not pending, seconds=30)
            await eventually(lambda: _failures(operator, name), lambda count: count >= 2, seconds=30)
        assert cluster.objects[LEASE]["spec"]["holderIdentity"] == "", "released for the next leader"
        assert watch.stopped
        assert not operator.leadership.leads
        assert exit_codes == [0]


async def _failures(operator: Operator, name: str) -> int:
    return operator.task(name).failures


async def test_an_ended_task_shuts_the_process_down(
    migrated_database_url: str, tmp_path: Path, exit_codes: list[int]
) -> None:
    async with an_operator(migrated_database_url, tmp_path) as (operator, cluster, watch):

        class UnexpectedEnd(BaseException):
            pass

        async def ends_unexpectedly() -> None:
            await eventually(lambda: is_leader(operator))
            raise UnexpectedEnd

        operator.task("mirror").run = ends_unexpectedly
        with pytest.raises(TaskEndedError, match="mirror ended before shutdown"):
            await run_until(asyncio.Event(), operator)
        assert cluster.objects[LEASE]["spec"]["holderIdentity"] == ""
        assert watch.stopped
        assert exit_codes == [TaskEndedError.exit_code]


async def test_losing_the_lease_shuts_the_process_down_and_keeps_the_new_holder(
    migrated_database_url: str, tmp_path: Path, exit_codes: list[int]
) -> None:
    async with an_operator(migrated_database_url, tmp_path) as (operator, cluster, _):
        run = asyncio.create_task(run_until(asyncio.Event(), operator))
        await eventually(lambda: is_leader(operator))
        cluster.objects[LEASE]["spec"]["holderIdentity"] = "another"
        with pytest.raises(LeadershipLostError, match="predictive-scaling"):
            await asyncio.wait_for(run, 240)
        assert cluster.objects[LEASE]["spec"]["holderIdentity"] == "another"
        assert exit_codes == [LeadershipLostError.exit_code]


async def test_a_process_whose_leadership_is_over_uses_no_table(migrated_database_url: str, tmp_path: Path) -> None:
    """A process that was frozen in the middle of its work continues with the next statement."""
    async with an_operator(migrated_database_url, tmp_path) as (operator, _, _):
        decisions, policies = operator.loop.recovery.records.log.table, operator.loop.publisher.table
        await decisions.ping()
        await operator.leadership.campaign()
        await decisions.ping()
        await policies.record([])
        operator.leadership._relied_until = 0.0  # pyright: ignore[reportPrivateUsage]
        for statement in (decisions.ping, lambda: policies.record([])):
            with pytest.raises(DatabaseUnavailableError, match=r"leadership was lost; PostgreSQL at .* is not used"):
                await statement()


async def test_a_hanging_shutdown_step_does_not_block_the_others(
    migrated_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_STEP_SECONDS", 0.1)
    monkeypatch.setattr(supervision, "_TASKS_SECONDS", 0.1)
    async with an_operator(migrated_database_url, tmp_path) as (operator, _, watch):
        released = asyncio.Event()

        async def ignore_cancellation() -> None:
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue

        async def hang(leadership: Leadership) -> None:
            del leadership
            await asyncio.Event().wait()

        operator.task("tuning").run = ignore_cancellation
        monkeypatch.setattr(type(operator.leadership), "release", hang)
        async with running(operator):
            await eventually(lambda: is_leader(operator))
        assert watch.stopped
        released.set()


@pytest.mark.parametrize("unreadable", ["a file", "a broken pointer"])
async def test_an_unreadable_models_folder_does_not_stop_the_tick(
    migrated_database_url: str, tmp_path: Path, unreadable: str
) -> None:
    models = tmp_path / "models"
    if unreadable == "a file":
        models.write_text("no folder")
    else:
        models.symlink_to(tmp_path / "models")
    async with an_operator(migrated_database_url, tmp_path) as (operator, _, _), running(operator):
        await eventually(lambda: is_leader(operator))
        tick = operator.task("tick")
        since = monotonic()
        await eventually(lambda: _succeeded_after(tick.succeeded_at, since), seconds=30)


async def test_a_pending_command_is_executed_by_the_next_leader(migrated_database_url: str, tmp_path: Path) -> None:
    async with (
        Database(migrated_database_url, purpose="tests") as database,
        an_operator(migrated_database_url, tmp_path) as (operator, _, _),
    ):
        commands = Commands(database)
        number = await commands.submit(RELOAD_MODELS, {}, WallClock().now())
        async with running(operator):
            assert await commands.wait(number, 240) == {"reloaded": [], "rejected": []}


async def test_a_reload_from_an_unreadable_folder_is_answered_with_an_error(
    migrated_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "models").write_text("no folder")
    async with (
        Database(migrated_database_url, purpose="tests") as database,
        an_operator(migrated_database_url, tmp_path) as (operator, _, _),
        running(operator),
    ):
        commands = Commands(database)
        answer = await commands.wait(await commands.submit(RELOAD_MODELS, {}, WallClock().now()), 240)
        assert answer is not None
        assert "models" in answer["error"]
        next_answer = await commands.wait(await commands.submit(CLEAR_STUCK, {}, WallClock().now()), 240)
        assert next_answer == {"cleared": 0}, "the next command is answered"


async def _succeeded_after(at: float | None, since: float) -> bool:
    return at is not None and at > since


def test_the_shutdown_is_shorter_than_the_grace_period_of_kubernetes() -> None:
    assert timedelta(seconds=supervision.SHUTDOWN_SECONDS) < timedelta(seconds=30)
