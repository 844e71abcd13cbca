"""The operator trains the series that need it, one at a time, logs the cause, and reloads published models."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from structlog.typing import EventDict

from forecasting.learning import LearnedModels, learn
from predictive_scaling.control.jobs.commands import RELOAD_MODELS, CommandHandler
from predictive_scaling.control.jobs.training import TrainingScheduler
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.statuses import AccuracyStatus
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.commands import Command
from tests.fixtures.models import FAST_MODEL
from tests.support.builders import NOON, a_policy
from tests.support.control import World
from tests.support.demand_series import a_series

pytestmark = pytest.mark.usefixtures("logs")

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@cache
def a_trained_model() -> LearnedModels:
    return learn(a_series(days=14, weekend=0.4), FAST_MODEL)


@dataclass
class BusinessEventTable:
    """The table business_events."""

    rows: list[BusinessEventRow] = field(default_factory=list[BusinessEventRow])

    async def between(self, since: datetime, until: datetime) -> list[BusinessEventRow]:
        return [row for row in self.rows if row.start_time < until and row.end_time > since]


class Scene:
    """A world with a policy in Auto, a models folder, and trainings that are only recorded."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.world = World(a_policy(**policy))
        self.registry = Registry(folder)
        self.model_store = ModelStore(folder, timeout_seconds=60)
        self.events = BusinessEventTable()
        self.trained: list[tuple[SeriesKey, bool]] = []
        self.publishes = False
        world = self.world
        self.job = TrainingScheduler(
            *(
                self.model_store,
                world.window,
                world.states,
                world.informer_cache,
                world.events,
                self.events,
                world.clock,
            ),
            interval=DAY,
            trains=True,
            train=self.train,
        )

    @property
    def key(self) -> SeriesKey:
        return self.world.states.requirements()[0].series

    async def train(self, key: SeriesKey, zero_is_valid: bool) -> bool:
        self.trained.append((key, zero_is_valid))
        if self.publishes:
            self.publish(self.world.clock.now())
        return self.publishes

    def publish(self, at: datetime) -> str:
        """A version whose data end at `at`."""
        learned = a_trained_model()
        span = replace(learned.span, since=at - 14 * DAY, until=at)
        return publish(self.registry, self.key, replace(learned, span=span), at).version


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "models")
    await scene.world.turn(2)
    return scene


def logged(logs: list[EventDict], event: str) -> list[EventDict]:
    return [log for log in logs if log["event"] == event]


async def test_a_series_without_a_model_is_trained_once_and_its_model_is_loaded(
    scene: Scene, logs: list[EventDict]
) -> None:
    scene.publishes = True
    await scene.job.run()
    assert scene.trained == [(scene.key, False)]
    assert scene.model_store.models()[scene.key].service == "checkout"
    (started,) = logged(logs, "training_started")
    assert started["cause"] == "no_model"
    assert "there is no model" in started["evidence"]
    await scene.job.run()
    scene.world.clock.advance(2 * HOUR)
    await scene.job.run()
    assert len(scene.trained) == 1


async def test_a_failed_training_is_retried_after_an_hour(scene: Scene) -> None:
    await scene.job.run()
    scene.world.clock.advance(HOUR / 2)
    await scene.job.run()
    assert len(scene.trained) == 1
    scene.world.clock.advance(HOUR)
    await scene.job.run()
    assert len(scene.trained) == 2


async def publish_settled_model(scene: Scene) -> None:
    """Publish a model that is thirteen hours old."""
    scene.publish(scene.world.clock.now() - 13 * HOUR)
    await scene.job.reload()


async def test_a_loss_of_accuracy_triggers_a_training(scene: Scene, logs: list[EventDict]) -> None:
    await publish_settled_model(scene)
    (state,) = scene.world.states.by_key().values()
    state.note_accuracy(AccuracyStatus(mape=0.10))
    await scene.job.run()
    assert scene.trained == []
    state.note_accuracy(AccuracyStatus(mape=0.45))
    await scene.job.run()
    assert [entry["cause"] for entry in logged(logs, "training_started")] == ["accuracy"]
    scene.world.clock.advance(2 * HOUR)
    await scene.job.run()
    assert len(scene.trained) == 1, "the same evidence triggers only one training"


async def test_a_new_event_type_triggers_a_training(scene: Scene, logs: list[EventDict]) -> None:
    await publish_settled_model(scene)
    await scene.job.run()
    now = scene.world.clock.now()
    scene.events.rows = [BusinessEventRow("shop", "x", "sale", now - 2 * HOUR, now, None, None, 0, ["checkout"], now)]
    await scene.job.run()
    (started,) = logged(logs, "training_started")
    assert (started["cause"], "sale" in started["evidence"]) == ("event_types", True)


async def test_a_changed_pattern_triggers_a_training(tmp_path: Path, logs: list[EventDict]) -> None:
    scene = Scene(tmp_path)

    async def minutes(keys: list[SeriesKey], since: datetime, until: datetime) -> dict[SeriesKey, Any]:
        """A daily shape that is shifted by six hours since this morning."""
        times = [since + index * MINUTE for index in range((until - since) // MINUTE)]
        hours = np.array([at.hour + at.minute / 60 - 6 * (at > NOON - 13 * HOUR) for at in times])
        return dict.fromkeys(keys, 100 + 60 * np.sin(hours / 24 * 2 * np.pi))

    cast(Any, scene.world.source).minutes = minutes
    await scene.world.turn(2)
    await publish_settled_model(scene)
    await scene.job.run()
    assert [entry["cause"] for entry in logged(logs, "training_started")] == ["pattern"]


async def test_a_rolled_back_model_is_not_replaced_within_an_interval(scene: Scene, logs: list[EventDict]) -> None:
    now = scene.world.clock.now()
    scene.publish(now - 60 * HOUR)
    scene.publish(now - 30 * HOUR)
    await scene.job.reload()
    roll_back(scene.registry, scene.key, now)
    await scene.job.reload()
    (entry,) = logged(logs, "model_rolled_back")
    assert entry["verdict"].startswith("rolled back from")
    await scene.job.run()
    assert scene.trained == []
    scene.world.clock.advance(DAY)
    await scene.job.run()
    assert len(scene.trained) == 1


async def test_valid_zeros_are_trained_as_demand(tmp_path: Path) -> None:
    scene = Scene(tmp_path, demand={"zeroIsValid": True})
    await scene.world.turn(2)
    await scene.job.run()
    assert [valid for _, valid in scene.trained] == [True]


async def test_an_operator_that_does_not_train_starts_no_training(scene: Scene) -> None:
    scene.job.trains = False
    await scene.job.run()
    assert scene.trained == []


class ReloadCommandTable:
    """The table commands, with one request to reload."""

    def __init__(self) -> None:
        self.open = [Command(1, NOON, RELOAD_MODELS, {}, "open", None, None)]
        self.answers: list[dict[str, Any]] = []

    async def listen(self) -> AsyncIterator[None]:
        yield

    async def claim(self, kinds: Sequence[str], now: datetime) -> Command | None:
        return self.open.pop() if self.open else None

    async def answer(self, id: int, answer: dict[str, Any], now: datetime) -> None:  # noqa: A002 (the column's name)
        self.answers.append(answer)


async def reload(scene: Scene) -> dict[str, Any]:
    """Return the response to `POST /api/v1/models/reload`."""
    table, world = ReloadCommandTable(), scene.world
    decisions = cast(Any, world.decisions)
    await CommandHandler(
        table,
        decisions,
        *(world.decision_records, world.verification, world.states, scene.job, world.clock, lambda: True),
    ).run()
    (answer,) = table.answers
    return answer


async def test_a_requested_reload_reports_loaded_and_rejected_models(scene: Scene) -> None:
    now = scene.world.clock.now()
    good = scene.publish(now - 2 * HOUR)
    assert await reload(scene) == {"reloaded": [f"{scene.key} {good}"], "rejected": []}
    bad = scene.publish(now - HOUR)
    file = scene.registry.path(scene.key.slug, bad) / "q0500.txt"
    file.write_bytes(file.read_bytes()[:1000])
    answer = await reload(scene)
    assert answer["reloaded"] == []
    (rejected,) = answer["rejected"]
    assert scene.key.slug in rejected["file"]
    assert "bytes, found 1000" in rejected["reason"]
    assert scene.model_store.models()[scene.key].version == good, "the last good version still serves"
    assert await reload(scene) == {"reloaded": [], "rejected": []}, "a rejection is reported once"
