"""Declared multipliers that prove wrong: reported in the status, an Event, the metric and the table; no floor moves."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.jobs.business_events import BusinessEventController
from predictive_scaling.control.jobs.multiplier_reviews import WRONG, MultiplierReviews
from predictive_scaling.resources.series_key import SeriesKey
from tests.support.builders import NOON, an_event
from tests.support.control import World
from tests.support.in_memory_ports import ConstantDemand, ObservedOccurrences

MINUTE = timedelta(minutes=1)
START = NOON + timedelta(minutes=15)
BASELINE = 200.0
PATH = "/apis/predictive-scaling.io/v1alpha1/namespaces/shop/businessevents/match"


class DemandOfAnEvent(ConstantDemand):
    """The baseline, multiplied from START to its end an hour later."""

    def __init__(self, multiplier: float) -> None:
        super().__init__(BASELINE, NOON + timedelta(days=1))
        self.multiplier = multiplier

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        values = await super().minutes(keys, since, until)
        times = [since + index * MINUTE for index in range((until - since) // MINUTE)]
        factors = np.array([self.multiplier if START <= at < START + 60 * MINUTE else 1.0 for at in times])
        return {key: series * factors for key, series in values.items()}


class Scene:
    """A policy with a baseline of 2 replicas, and a match of an hour that declares a multiplier of 3."""

    def __init__(self, multiplier: float, *, reviews: bool = True, expect: dict[str, Any] | None = None) -> None:
        self.world = World(demand=BASELINE)
        self.source = DemandOfAnEvent(multiplier)
        self.world.source = self.source
        self.table = ObservedOccurrences()
        self.reviews = reviews
        self.world.cluster.objects[PATH] = {"metadata": {"name": "match", "uid": "match-uid", "resourceVersion": "1"}}
        self.declare(expect or {"multiplier": "3"}, generation=1)
        self.restart()

    def declare(self, expect: dict[str, Any], generation: int) -> None:
        self.expect = expect
        event = an_event("match", start=START, end=START + 60 * MINUTE, expect=expect)
        status = self.world.cluster.objects[PATH].get("status", {})
        record = EventRecord("shop", "match", "match-uid", generation, generation, NOON, status, event)
        self.world.event_records["shop", "match"] = [record]

    def restart(self) -> None:
        world = self.world
        ((record,),) = world.event_records.values()
        self.declare(self.expect, record.generation)
        world.restart()
        reviews = MultiplierReviews(
            world.states, world.loop.reconciler.situations.forecasts, world.window, world.events
        )
        self.job = BusinessEventController(
            world.cluster,
            world.informer_cache,
            self.table,
            world.clock,
            lambda: True,
            calendar=world.loop.calendar,
            reviews=reviews if self.reviews else None,
        )

    async def run_until(self, until: datetime) -> list[int]:
        """Run in steps of two minutes and return the floor after each."""
        floors: list[int] = []
        while self.world.clock.now() < until:
            await self.world.turn(1, step=2 * MINUTE)
            self.world.target.settle()
            await self.job.run()
            floors.append(self.world.target.minimum)
        return floors

    @property
    def status(self) -> dict[str, Any]:
        return self.world.cluster.objects[PATH]["status"]

    @property
    def condition(self) -> dict[str, Any]:
        conditions = self.status["conditions"]
        return next(condition for condition in conditions if condition["type"] == "MultiplierAccurate")

    async def sent(self) -> list[str]:
        """The reasons of the Events about the match."""
        await self.world.events.send()
        bodies = [body for path, body in self.world.cluster.objects.items() if "/events.k8s.io/" in path]
        return [body["reason"] for body in bodies if body["regarding"]["kind"] == "BusinessEvent"]


def wrong(reason: str) -> float:
    return WRONG.labels(reason)._value.get()  # pyright: ignore[reportPrivateUsage]


async def test_a_multiplier_that_is_too_low_is_reported_with_what_to_write() -> None:
    scene = Scene(5.0)
    await scene.run_until(START)
    assert (scene.condition["status"], scene.condition["reason"]) == ("Unknown", "NotYetJudged")
    await scene.run_until(START + 20 * MINUTE)
    assert (scene.condition["status"], scene.condition["reason"]) == ("False", "MultiplierTooLow")
    assert 'set spec.expect.multiplier to "5"' in scene.condition["message"]
    (observed,) = scene.status["observed"]
    assert (observed["policy"], observed["multiplier"]) == ("checkout", "5")
    assert (wrong("MultiplierTooLow"), wrong("MultiplierTooHigh")) == (1.0, 0.0)
    assert await scene.sent() == ["MultiplierTooLow"]
    assert (scene.table.observed[-1].multiplier, scene.table.observed[-1].verdict) == (5.0, "MultiplierTooLow")
    assert scene.table.observed[-1].start_time == START
    writes = scene.world.cluster.writes.count(("edit", f"{PATH}/status"))
    await scene.run_until(START + 40 * MINUTE)
    assert scene.world.cluster.writes.count(("edit", f"{PATH}/status")) == writes, "nothing changed since"
    assert await scene.sent() == ["MultiplierTooLow"]


@pytest.mark.parametrize("multiplier", [1.2, 6.0])
async def test_no_floor_depends_on_a_review(multiplier: float) -> None:
    floors = [await Scene(multiplier, reviews=reviews).run_until(START + 70 * MINUTE) for reviews in (True, False)]
    assert floors[0] == floors[1]
    in_event = floors[0][START.minute // 2 : (START.minute + 55) // 2]
    assert min(in_event) == 6, "the baseline of 2 replicas times the declared 3"


async def test_a_multiplier_that_is_too_high_is_reported_in_the_second_half_and_kept_after_the_event() -> None:
    scene = Scene(1.2)
    await scene.run_until(START + 29 * MINUTE)
    assert scene.condition["reason"] == "NotYetJudged"
    await scene.run_until(START + 33 * MINUTE)
    assert scene.condition["reason"] == "MultiplierTooHigh"
    await scene.run_until(START + 66 * MINUTE)
    assert scene.status["phase"] == "Finished"
    assert 'set spec.expect.multiplier to "1.2"' in scene.condition["message"]
    assert await scene.sent() == ["MultiplierTooHigh"]


async def test_a_multiplier_that_fits_is_confirmed_without_an_event() -> None:
    scene = Scene(3.1)
    await scene.run_until(START + 40 * MINUTE)
    assert (scene.condition["status"], scene.condition["reason"]) == ("True", "AsDeclared")
    assert await scene.sent() == []
    assert wrong("MultiplierTooLow") == wrong("MultiplierTooHigh") == 0.0


async def test_a_restart_repeats_no_event_and_keeps_the_report() -> None:
    scene = Scene(5.0)
    await scene.run_until(START + 20 * MINUTE)
    assert await scene.sent() == ["MultiplierTooLow"]
    scene.restart()
    await scene.run_until(START + 40 * MINUTE)
    assert scene.condition["reason"] == "MultiplierTooLow"
    assert await scene.sent() == ["MultiplierTooLow"]


async def test_an_edited_multiplier_is_compared_again() -> None:
    scene = Scene(5.0)
    await scene.run_until(START + 20 * MINUTE)
    scene.declare({"multiplier": "5"}, generation=2)
    await scene.run_until(START + 22 * MINUTE)
    assert scene.condition["reason"] == "NotYetJudged"
    await scene.run_until(START + 40 * MINUTE)
    assert scene.condition["reason"] == "AsDeclared"
    scene.declare({"minReplicas": 4}, generation=3)
    await scene.run_until(START + 42 * MINUTE)
    assert scene.condition["reason"] == "NoMultiplier"
    assert scene.status["observed"] == []


async def test_an_event_without_a_multiplier_is_not_compared() -> None:
    scene = Scene(5.0, expect={"minReplicas": 8})
    await scene.run_until(START + 30 * MINUTE)
    assert (scene.condition["status"], scene.condition["reason"]) == ("Unknown", "NoMultiplier")
    assert scene.table.observed == []


async def test_demand_during_another_event_is_left_out_after_that_event_has_ended() -> None:
    scene = Scene(5.0)
    ends_at = START + 20 * MINUTE
    sale = an_event("sale", start=START - 10 * MINUTE, end=ends_at, expect={"minReplicas": 8})
    scene.world.event_records["shop", "sale"] = [EventRecord("shop", "sale", "sale-uid", 1, 1, NOON, {}, sale)]
    await scene.run_until(ends_at)
    scene.source.multiplier = 3.0
    await scene.run_until(ends_at + 20 * MINUTE)
    assert scene.condition["reason"] == "AsDeclared", scene.condition["message"]
    assert await scene.sent() == []


async def test_missing_demand_is_no_evidence() -> None:
    scene = Scene(0.0)
    await scene.run_until(START + 50 * MINUTE)
    assert scene.condition["reason"] == "NotYetJudged"
