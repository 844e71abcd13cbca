"""Tuning studies: which policies are studied and when, and the child process that runs them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from structlog.typing import EventDict

from predictive_scaling.control.jobs import tuning
from predictive_scaling.control.jobs.subprocesses import CompletedChild
from predictive_scaling.control.jobs.tuning import study_in_child
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.tuning import worker
from predictive_scaling.tuning.study import tune
from predictive_scaling.tuning.task import ENCODE, TASK_DECODER, Failed, Span, Task, Tuning
from tests.support.builders import NOON, a_policy
from tests.support.tuning_scenes import DAY, HOUR, KEY, MINUTE, TuningScene, a_priced_policy
from tests.support.tunings import a_task, some_minutes

pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def scene() -> TuningScene:
    return TuningScene()


async def test_a_study_gets_the_demand_the_forecasts_and_the_events_of_the_policy(scene: TuningScene) -> None:
    start = NOON - 2 * DAY
    sale = BusinessEventRow("shop", "sale", None, start, start + HOUR, 2.0, None, 0, ["checkout"], NOON)
    other = replace(sale, name="other", policies=["cart"])
    scene.tables.event_rows = [sale, other, replace(sale, namespace="elsewhere")]
    await scene.turn()
    (task,) = scene.studied
    minutes = np.frombuffer(task.minutes, np.float32)
    assert task.begins_at + len(minutes) * MINUTE == task.now.replace(second=0)
    assert set(minutes[-7 * 1440 :].tolist()) == {880.0}
    assert (task.per_replica, task.hpa_target, task.maximum, task.lead_time_seconds) == (100.0, 0.7, 40, 180.0)
    assert task.unjudged == (Span(start - 3 * MINUTE, start + HOUR),)
    ((since, until, interval, reach),) = scene.tables.queries
    assert (until - since, interval, reach) == (7 * DAY, 5 * MINUTE, 15 * MINUTE)


async def test_policies_with_prices_are_studied_first_then_the_oldest_studies() -> None:
    names = [f"service-{number}" for number in range(10)]
    targets = [{"horizontalPodAutoscaler": {"name": name}} for name in names]
    plain = [with_name(a_policy(target=target), name) for target, name in zip(targets[:9], names, strict=False)]
    scene = TuningScene(*plain, with_name(a_priced_policy(target=targets[9]), names[9]))
    scene.world.targets |= {name: InMemoryTarget(minimum=2, maximum=40, uid=name) for name in names}
    await scene.turn()
    first = [task.policy["metadata"]["name"] for task in scene.studied]
    assert (len(first), first[0]) == (8, names[9])
    await scene.job.run()
    assert sorted(task.policy["metadata"]["name"] for task in scene.studied) == names


async def test_the_scheduler_rests_after_a_study(scene: TuningScene, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 100.0
    monkeypatch.setattr(tuning, "monotonic", lambda: seconds)
    scene.job.rest = 4.0
    study = scene.job.study

    async def slow_study(tasks: Sequence[Task]) -> Sequence[Tuning | Failed]:
        nonlocal seconds
        seconds += 10.0
        return await study(tasks)

    scene.job.study = slow_study
    await scene.turn()
    seconds += 39.0
    await scene.turn(6 * HOUR)
    assert len(scene.studied) == 1
    seconds += 1.0
    await scene.turn()
    assert len(scene.studied) == 2


async def test_the_scheduler_also_rests_after_a_database_failure(scene: TuningScene) -> None:
    scene.job.rest = 1e6
    original, scene.tables.between = scene.tables.between, fail_without_database
    with pytest.raises(DatabaseUnavailableError):
        await scene.turn()
    scene.tables.between = original
    await scene.job.run()
    assert scene.studied == []


async def fail_without_database(since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
    raise DatabaseUnavailableError(f"PostgreSQL is away from {since} to {until}")


async def test_a_failed_study_is_logged_and_retried_after_an_hour(scene: TuningScene, logs: list[EventDict]) -> None:
    scene.failure = "the child process ended with -9"
    await scene.turn()
    (entry,) = [log for log in logs if log["event"] == "tuning_failed"]
    assert entry["message"] == "the child process ended with -9"
    await scene.turn(HOUR / 2)
    assert len(scene.studied) == 1
    scene.failure = None
    await scene.turn(HOUR)
    assert len(scene.studied) == 2
    assert KEY in scene.tables.rows


async def test_a_service_with_less_than_two_days_of_demand_is_not_studied(scene: TuningScene) -> None:
    scene.world.source.since = NOON - DAY
    await scene.turn()
    assert scene.studied == []


async def test_tunings_of_a_deleted_policy_are_deleted(scene: TuningScene) -> None:
    await scene.turn()
    scene.world.records.clear()
    await scene.world.loop.run()
    await scene.job.run()
    assert scene.tables.rows == {}
    assert scene.world.tunings.get(KEY) is None


async def test_a_child_process_returns_the_same_result() -> None:
    task = a_task(minutes=some_minutes(2))
    assert list(await study_in_child([task])) == [tune(task)]


async def test_the_tasks_of_a_crashed_child_process_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "ENCODE", lambda _: b"no tasks at all")  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    (failed,) = await study_in_child([a_task(minutes=some_minutes(1))])
    assert isinstance(failed, Failed)
    assert "ended with 1" in failed.reason


def with_name(policy: ScalingPolicy, name: str) -> ScalingPolicy:
    return policy.model_copy(
        update={"metadata": policy.metadata.model_copy(update={"name": name, "uid": f"uid-{name}"})}
    )


async def test_a_task_that_crashes_its_process_does_not_affect_other_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    good, crashing = a_task(), a_task(per_replica=13.0)

    async def child(arguments: Sequence[str], *, stdin: bytes, **others: object) -> CompletedChild:
        tasks = TASK_DECODER.decode(stdin)
        if crashing in tasks:
            if len(tasks) == 1:
                raise TimeoutError
            return CompletedChild(-11, b"", "Segmentation fault")
        return CompletedChild(0, ENCODE([worker.run_task(task) for task in tasks]), "")

    monkeypatch.setattr(tuning, "run_child", child)
    first, failed, last = await study_in_child([good, crashing, good])
    assert first == last == tune(good)
    assert isinstance(failed, Failed)
    assert "300 s" in failed.reason
