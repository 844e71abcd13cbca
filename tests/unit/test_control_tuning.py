"""Who is looked back on and when, what visits read of it, and how a moved quantile shows."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from forecasting.scaling.frontier import Point
from forecasting.scaling.tuner import update
from predictive_scaling.control.jobs import tuning
from predictive_scaling.control.jobs.subprocesses import CompletedChild
from predictive_scaling.control.jobs.tuning import TuningScheduler, study_in_child
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.tunings import TuningRow
from predictive_scaling.targets.in_memory import InMemoryTarget
from predictive_scaling.tuning import worker
from predictive_scaling.tuning.study import tune
from predictive_scaling.tuning.task import ENCODE, TASKS, Failed, Span, Task, Tuning, prices_of
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.tunings import a_task, some_minutes

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
KEY = PolicyKey("shop", "checkout")


@pytest.fixture(autouse=True)
def logs() -> Generator[list[EventDict]]:
    with capture_logs() as found:
        yield found


def priced(minute: str = "1", hour: str = "0.5", **spec: Any) -> ScalingPolicy:
    return a_policy(forecast={"objective": {"underProvisionedMinute": minute, "replicaHour": hour}}, **spec)


@dataclass
class Tables:
    """The tables tunings, predictions and business_events."""

    rows: dict[PolicyKey, TuningRow] = field(default_factory=dict[PolicyKey, TuningRow])
    asked: list[tuple[datetime, datetime, timedelta, timedelta]] = field(default_factory=list[Any])
    happened: list[BusinessEventRow] = field(default_factory=list[BusinessEventRow])

    async def all(self) -> Sequence[TuningRow]:
        return list(self.rows.values())

    async def record(self, rows: Sequence[TuningRow]) -> None:
        self.rows |= {PolicyKey(row.namespace, row.policy): row for row in rows}

    async def forget(self, policies: Sequence[tuple[str, str]]) -> None:
        for key in policies:
            self.rows.pop(PolicyKey(*key), None)

    async def at_intervals(
        self, namespace: str, policy: str, *, since: datetime, until: datetime, every: timedelta, reach: timedelta
    ) -> bytes:
        self.asked.append((since, until, every, reach))
        return b""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        return [row for row in self.happened if row.start_time < until and row.end_time > since]


class Scene:
    """A world with a desk whose look backs see the frontier that a test says."""

    def __init__(self, *policies: ScalingPolicy) -> None:
        self.world = World(*(policies or (priced(),)))
        self.tables = Tables()
        self.seen: list[Task] = []
        self.costs = {0.8: 200.0, 0.9: 100.0, 0.95: 120.0}
        """Minutes short over the days, at each quantile."""
        self.failure: str | None = None
        self.job = self.a_desk()

    def a_desk(self) -> TuningScheduler:
        world, tables = self.world, self.tables
        return TuningScheduler(
            *(tables, tables, tables, world.choices, world.window, world.states),
            *(world.informer_cache, world.events, world.clock),
            interval=6 * HOUR,
            study=self.study,
            rest=0.0,
        )

    async def study(self, tasks: Sequence[Task]) -> Sequence[Tuning | Failed]:
        self.seen += tasks
        return [Failed(self.failure) if self.failure else self.found(task) for task in tasks]

    def found(self, task: Task) -> Tuning:
        target = task.hpa_target
        points = tuple(Point(quantile, target, 0.01, 0.001, cost, 0.0) for quantile, cost in self.costs.items())
        prices = prices_of(parse_policy(task.policy).spec)
        held = update(task.tuner_state, points, prices, task.now) if prices else None
        return Tuning(
            since=task.now - 7 * DAY,
            until=task.now,
            recorded_share=0.5,
            hpa_target=target,
            prices=prices,
            points=points,
            hpa_only=Point(0.0, target, 0.02, 0.002, 300.0, 0.0),
            tuner_state=held,
            quantile=held.quantile if held else 0.9,
            advised=target + 0.12,
            saved=0.09,
            hours_saved=120.04,
            message="with this policy the HPA's target may go from 70 % to 82 %",
        )

    async def turn(self, later: timedelta = timedelta()) -> None:
        """Time passes, the loop visits, the desk turns, and the loop visits again."""
        self.world.clock.advance(later)
        self.world.source.until = self.world.clock.now() + DAY
        await self.world.turn(2)
        await self.job.run()
        await self.world.turn(2)

    async def told(self) -> list[str]:
        """The notes of all QuantileTuned Events so far."""
        await self.world.events.send()
        sent = [one for path, one in self.world.cluster.objects.items() if "/events/" in path]
        return [one["note"] for one in sent if one["reason"] == "QuantileTuned"]


@pytest.fixture
def scene() -> Scene:
    return Scene()


# what is chosen


async def test_prices_choose_the_quantile_and_decisions_say_which_and_why(scene: Scene, logs: list[EventDict]) -> None:
    await scene.turn()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.9
    assert (
        "(p90, chosen for underProvisionedMinute 1 and replicaHour 0.5 over the last 7 days, LightGBM"
        in decision.message
    )
    (moved,) = [log for log in logs if log["event"] == "quantile_tuned"]
    assert (moved["policy"], moved["before"], moved["after"]) == ("shop/checkout", None, 0.9)
    assert await scene.told() == [f"p90: {moved['why']}"]


async def test_until_there_is_a_frontier_the_prices_alone_say_where_to_begin() -> None:
    world = World(priced("1", "6"))
    await world.turn(2)
    decision = world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == pytest.approx(1 / 1.1)
    assert "initial value" in decision.message


async def test_the_record_of_a_decision_has_the_quantile_that_was_used(scene: Scene) -> None:
    scene.costs = {0.8: 100.0, 0.9: 200.0}
    await scene.turn()
    scene.world.prophet.demand = 2500.0
    await scene.turn(2 * MINUTE)
    newest = list(scene.world.decisions.rows.values())[-1]
    assert newest.forecast is not None
    assert newest.forecast["quantile"] == "0.8"
    assert "(p80, chosen for" in newest.message


async def test_a_quantile_moves_once_an_interval_at_the_most_and_says_so(scene: Scene) -> None:
    await scene.turn()
    held = scene.found(scene.seen[0]).tuner_state
    scene.costs = {0.8: 200.0, 0.9: 100.0, 0.95: 10.0}
    await scene.turn(5 * HOUR)
    assert len(scene.seen) == 1
    await scene.turn(HOUR)
    assert len(scene.seen) == 2
    assert scene.seen[1].tuner_state == held
    why = "chosen for underProvisionedMinute 1 and replicaHour 0.5 over the last 7 days"
    assert (await scene.told())[1:] == [f"p95 in place of p90: {why}"]
    assert scene.tables.rows[KEY].quantile == 0.95
    assert scene.tables.rows[KEY].rising is True


async def test_what_changes_by_chance_moves_nothing(scene: Scene) -> None:
    await scene.turn()
    for costs in ({0.9: 100.0, 0.95: 98.0}, {0.9: 98.0, 0.95: 100.0}) * 3:
        scene.costs = costs
        await scene.turn(6 * HOUR)
    assert len(scene.seen) == 7
    assert len(await scene.told()) == 1


async def test_a_changed_objective_chooses_anew_at_once_and_is_looked_back_on_soon(scene: Scene) -> None:
    await scene.turn()
    choice = scene.world.choices.get(KEY)
    assert choice is not None
    scene.world.choices.put(
        KEY, replace(choice, points=(Point(0.8, 0.7, 0, 0, 30, 10), Point(0.9, 0.7, 0, 0, 20, 200)))
    )
    scene.world.put(priced("1", "5"))
    await scene.world.loop.run()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.8
    assert "chosen for underProvisionedMinute 1 and replicaHour 5 over" in decision.message
    assert "advice" not in scene.world.status, "what is known is of other prices"
    await scene.turn()
    assert len(scene.seen) == 2
    assert "advice" in scene.world.status


async def test_a_policy_without_prices_keeps_its_quantile_and_is_advised() -> None:
    scene = Scene(a_policy())
    await scene.turn()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.9
    assert "chosen" not in decision.message
    assert await scene.told() == []
    assert scene.world.status["advice"]["targetUtilization"] == 82


async def test_prices_that_a_policy_gets_later_are_tuned_on_at_once() -> None:
    scene = Scene(a_policy())
    scene.costs = {0.8: 10.0, 0.9: 100.0}
    await scene.turn()
    scene.world.put(priced())
    await scene.world.loop.run()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.8


# what is shown


async def test_the_status_advises_on_the_target_of_the_hpa(scene: Scene) -> None:
    await scene.turn()
    assert scene.world.status["advice"] == {
        "quantile": "0.9",
        "targetUtilization": 82,
        "replicaHoursSaved": "120",
        "message": "p90, chosen for underProvisionedMinute 1 and replicaHour 0.5 over the last 7 days; "
        "with this policy the HPA's target may go from 70 % to 82 %",
    }


async def test_advice_for_another_target_is_not_shown_and_a_new_target_is_looked_back_on(scene: Scene) -> None:
    await scene.turn()
    scene.world.put(priced(demand={"targetUtilization": 80}))
    await scene.world.loop.run()
    assert "advice" not in scene.world.status
    await scene.turn()
    assert scene.seen[-1].hpa_target == 0.8
    assert scene.world.status["advice"]["targetUtilization"] == 92


async def test_a_restart_goes_on_with_what_was_chosen(scene: Scene) -> None:
    await scene.turn()
    scene.world.restart()
    scene.job = scene.a_desk()
    scene.costs = {0.8: 1.0, 0.9: 100.0}
    await scene.turn(HOUR)
    assert len(scene.seen) == 1
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.9
    assert scene.world.status["advice"]["targetUtilization"] == 82
    assert await scene.told() == [], "nothing moved"


# who is looked back on


async def test_a_look_back_gets_the_demand_the_record_and_the_events_of_the_policy(scene: Scene) -> None:
    start = NOON - 2 * DAY
    sale = BusinessEventRow("shop", "sale", None, start, start + HOUR, 2.0, None, 0, ["checkout"], NOON)
    other = replace(sale, name="other", policies=["cart"])
    scene.tables.happened = [sale, other, replace(sale, namespace="elsewhere")]
    await scene.turn()
    (task,) = scene.seen
    minutes = np.frombuffer(task.minutes, np.float32)
    assert task.begins_at + len(minutes) * MINUTE == task.now.replace(second=0)
    assert set(minutes[-7 * 1440 :].tolist()) == {880.0}
    assert (task.per_replica, task.hpa_target, task.maximum, task.lead_time_seconds) == (100.0, 0.7, 40, 180.0)
    assert task.unjudged == (Span(start - 3 * MINUTE, start + HOUR),)
    ((since, until, every, reach),) = scene.tables.asked
    assert (until - since, every, reach) == (7 * DAY, 5 * MINUTE, 15 * MINUTE)


async def test_those_with_prices_come_first_and_then_the_oldest() -> None:
    names = [f"service-{number}" for number in range(10)]
    targets = [{"horizontalPodAutoscaler": {"name": name}} for name in names]
    plain = [named(a_policy(target=target), name) for target, name in zip(targets[:9], names, strict=False)]
    scene = Scene(*plain, named(priced(target=targets[9]), names[9]))
    scene.world.targets |= {name: InMemoryTarget(minimum=2, maximum=40, uid=name) for name in names}
    await scene.turn()
    first = [task.policy["metadata"]["name"] for task in scene.seen]
    assert (len(first), first[0]) == (8, names[9])
    await scene.job.run()
    assert sorted(task.policy["metadata"]["name"] for task in scene.seen) == names


async def test_after_a_turn_comes_a_rest(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 100.0
    monkeypatch.setattr(tuning, "monotonic", lambda: seconds)
    scene.job.rest = 4.0
    study = scene.job.study

    async def slow(tasks: Sequence[Task]) -> Sequence[Tuning | Failed]:
        nonlocal seconds
        seconds += 10.0
        return await study(tasks)

    scene.job.study = slow
    await scene.turn()
    seconds += 39.0
    await scene.turn(6 * HOUR)
    assert len(scene.seen) == 1
    seconds += 1.0
    await scene.turn()
    assert len(scene.seen) == 2


async def test_a_turn_that_the_database_ended_is_rested_from_as_well(scene: Scene) -> None:
    scene.job.rest = 1e6
    between, scene.tables.between = scene.tables.between, away
    with pytest.raises(DatabaseUnavailableError):
        await scene.turn()
    scene.tables.between = between
    await scene.job.run()
    assert scene.seen == []


async def away(since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
    raise DatabaseUnavailableError(f"PostgreSQL is away from {since} to {until}")


async def test_a_failure_is_logged_and_tried_again_an_hour_later(scene: Scene, logs: list[EventDict]) -> None:
    scene.failure = "the child process ended with -9"
    await scene.turn()
    (failed,) = [log for log in logs if log["event"] == "tuning_failed"]
    assert failed["message"] == "the child process ended with -9"
    await scene.turn(HOUR / 2)
    assert len(scene.seen) == 1
    scene.failure = None
    await scene.turn(HOUR)
    assert len(scene.seen) == 2
    assert KEY in scene.tables.rows


async def test_a_service_younger_than_two_days_is_not_looked_back_on(scene: Scene) -> None:
    scene.world.source.since = NOON - DAY
    await scene.turn()
    assert scene.seen == []


async def test_a_policy_that_is_gone_is_forgotten(scene: Scene) -> None:
    await scene.turn()
    scene.world.records.clear()
    await scene.world.loop.run()
    await scene.job.run()
    assert scene.tables.rows == {}
    assert scene.world.choices.get(KEY) is None


async def test_a_child_process_finds_what_this_one_does() -> None:
    task = a_task(minutes=some_minutes(2))
    assert list(await study_in_child([task])) == [tune(task)]


async def test_a_child_process_that_dies_fails_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "ENCODE", lambda _: b"no tasks at all")  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    (failed,) = await study_in_child([a_task(minutes=some_minutes(1))])
    assert isinstance(failed, Failed)
    assert "ended with 1" in failed.reason


def named(policy: ScalingPolicy, name: str) -> ScalingPolicy:
    return policy.model_copy(
        update={"metadata": policy.metadata.model_copy(update={"name": name, "uid": f"uid-{name}"})}
    )


async def test_a_task_that_ends_its_process_costs_those_beside_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, deadly = a_task(), a_task(per_replica=13.0)

    async def child(arguments: Sequence[str], *, stdin: bytes, **others: object) -> CompletedChild:
        tasks = TASKS.decode(stdin)
        if deadly in tasks:
            if len(tasks) == 1:
                raise TimeoutError
            return CompletedChild(-11, b"", "Segmentation fault")
        return CompletedChild(0, ENCODE([worker.run_task(task) for task in tasks]), "")

    monkeypatch.setattr(tuning, "run_child", child)
    first, failed, last = await study_in_child([whole, deadly, whole])
    assert first == last == tune(whole)
    assert failed == Failed("the child process was not done after 300 s")
