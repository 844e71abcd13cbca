"""The quantile and the advice that follow from tuning studies."""

from dataclasses import replace

import pytest
from structlog.typing import EventDict

from forecasting.scaling.frontier import Point
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from tests.support.builders import a_policy
from tests.support.control import World
from tests.support.tuning_scenes import HOUR, KEY, MINUTE, TuningScene, a_priced_policy

pytestmark = pytest.mark.usefixtures("logs")


@pytest.fixture
def scene() -> TuningScene:
    return TuningScene()


async def test_prices_choose_the_quantile_and_decisions_report_it(scene: TuningScene, logs: list[EventDict]) -> None:
    await scene.turn()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.9
    assert "(p90, chosen for underProvisionedMinute 1 and replicaHour 0.5" in decision.message
    (entry,) = [log for log in logs if log["event"] == "quantile_tuned"]
    assert (entry["policy"], entry["before"], entry["after"]) == ("shop/checkout", None, 0.9)
    assert await scene.tuned_notes() == [f"p90: {entry['why']}"]


async def test_without_a_frontier_the_initial_quantile_follows_from_the_prices() -> None:
    world = World(a_priced_policy("1", "6"))
    await world.turn(2)
    decision = world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == pytest.approx(1 / 1.1)
    assert "initial value" in decision.message


async def test_the_record_of_a_decision_has_the_quantile_that_was_used(scene: TuningScene) -> None:
    scene.costs = {0.8: 100.0, 0.9: 200.0}
    await scene.turn()
    scene.world.forecaster.demand = 2500.0
    await scene.turn(2 * MINUTE)
    newest = list(scene.world.decisions.rows.values())[-1]
    assert newest.forecast is not None
    assert newest.forecast["quantile"] == "0.8"
    assert "(p80, chosen for" in newest.message


async def test_a_quantile_moves_at_most_once_per_interval_and_is_reported(scene: TuningScene) -> None:
    await scene.turn()
    state = scene.result(scene.studied[0]).tuner_state
    scene.costs = {0.8: 200.0, 0.9: 100.0, 0.95: 10.0}
    await scene.turn(5 * HOUR)
    assert len(scene.studied) == 1
    await scene.turn(HOUR)
    assert len(scene.studied) == 2
    assert scene.studied[1].tuner_state == state
    (note,) = (await scene.tuned_notes())[1:]
    assert note.startswith("p95 in place of p90: ")
    assert scene.tables.rows[KEY].quantile == 0.95
    assert scene.tables.rows[KEY].rising is True


async def test_random_changes_do_not_move_the_quantile(scene: TuningScene) -> None:
    await scene.turn()
    for costs in ({0.9: 100.0, 0.95: 98.0}, {0.9: 98.0, 0.95: 100.0}) * 3:
        scene.costs = costs
        await scene.turn(6 * HOUR)
    assert len(scene.studied) == 7
    assert len(await scene.tuned_notes()) == 1


async def test_a_changed_objective_applies_at_once_and_is_studied_soon(scene: TuningScene) -> None:
    await scene.turn()
    cached = scene.world.tunings.get(KEY)
    assert cached is not None
    scene.world.tunings.put(
        KEY, replace(cached, points=(Point(0.8, 0.7, 0, 0, 30, 10), Point(0.9, 0.7, 0, 0, 20, 200)))
    )
    scene.world.put(a_priced_policy("1", "5"))
    await scene.world.loop.run()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.8
    assert "underProvisionedMinute 1 and replicaHour 5 " in decision.message
    assert "advice" not in scene.world.status, "the cached advice is for other prices"
    await scene.turn()
    assert len(scene.studied) == 2
    assert "advice" in scene.world.status


async def test_a_policy_without_prices_keeps_its_quantile_and_gets_advice() -> None:
    scene = TuningScene(a_policy())
    await scene.turn()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.9
    assert "chosen" not in decision.message
    assert await scene.tuned_notes() == []
    assert scene.world.status["advice"]["targetUtilization"] == 82


async def test_prices_added_later_apply_at_once() -> None:
    scene = TuningScene(a_policy())
    scene.costs = {0.8: 10.0, 0.9: 100.0}
    await scene.turn()
    scene.world.put(a_priced_policy())
    await scene.world.loop.run()
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.8


async def test_the_status_has_advice_for_the_target_of_the_hpa(scene: TuningScene) -> None:
    await scene.turn()
    advice = scene.world.status["advice"]
    message = advice.pop("message")
    assert advice == {"quantile": "0.9", "targetUtilization": 82, "replicaHoursSaved": "120"}
    assert message.startswith("p90, chosen for underProvisionedMinute 1 and replicaHour 0.5")
    assert message.endswith("from 70 % to 82 %")


async def test_advice_for_another_target_is_hidden_and_the_new_target_is_studied(scene: TuningScene) -> None:
    await scene.turn()
    scene.world.put(a_priced_policy(demand={"targetUtilization": 80}))
    await scene.world.loop.run()
    assert "advice" not in scene.world.status
    await scene.turn()
    assert scene.studied[-1].hpa_target == 0.8
    assert scene.world.status["advice"]["targetUtilization"] == 92


async def test_the_chosen_quantile_survives_a_restart(scene: TuningScene) -> None:
    await scene.turn()
    scene.world.restart()
    scene.job = scene.a_scheduler()
    scene.costs = {0.8: 1.0, 0.9: 100.0}
    await scene.turn(HOUR)
    assert len(scene.studied) == 1
    decision = scene.world.states.by_key()[KEY].decision
    assert decision is not None
    assert decision.quantile == 0.9
    assert scene.world.status["advice"]["targetUtilization"] == 82
    assert await scene.tuned_notes() == [], "nothing moved"


async def test_studies_take_turns_between_namespaces() -> None:
    scene = TuningScene(*(a_priced_policy_of("crowd", f"p{number:02}") for number in range(30)))
    for name in ("y", "z"):
        scene.world.put(a_priced_policy_of("quiet", name))
    await scene.turn()
    studied = [(task.policy["metadata"]["namespace"], task.policy["metadata"]["name"]) for task in scene.studied]
    assert studied[:5] == [("crowd", "p00"), ("quiet", "y"), ("crowd", "p01"), ("quiet", "z"), ("crowd", "p02")]


def a_priced_policy_of(namespace: str, name: str) -> ScalingPolicy:
    policy = a_priced_policy(demand={"service": "checkout"})
    changed = {"namespace": namespace, "name": name, "uid": f"{namespace}/{name}"}
    return policy.model_copy(update={"metadata": policy.metadata.model_copy(update=changed)})
