"""The task of a ScalingBacktest: its policy, events and assumptions."""

from datetime import timedelta
from typing import Any

import pytest

from predictive_scaling.backtesting.assumptions import LiveValues
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.jobs.backtest_tasks import BacktestLimits, task_of
from predictive_scaling.errors import AWSAccessDeniedError
from predictive_scaling.resources.scaling_backtest import parse_backtest
from predictive_scaling.targets.horizontal_pod_autoscaler import HorizontalPodAutoscaler
from tests.support.backtest_scenes import POLICY_SPEC, BacktestScene
from tests.support.builders import NOON, an_event

DAY = timedelta(days=1)


async def test_the_task_has_the_policy_its_events_and_the_assumptions() -> None:
    scene = BacktestScene()
    await scene.put_policy(forecast={"quantile": "0.8"})
    event = an_event("sale", NOON, NOON + DAY, expect={"multiplier": "2"})
    other = an_event("other", NOON, NOON + DAY, policies={"matchLabels": {"tier": "batch"}})
    for shown in (event, other):
        name = shown.metadata.name
        scene.events["shop", name] = [EventRecord("shop", name, name, 1, 1, NOON, {}, shown)]
    await scene.put(
        span={"last": "48h"},
        quantiles=["0.95"],
        objectives=[{"underProvisionedMinute": "1", "replicaHour": "0.5"}],
        assumptions={"leadTime": "8m", "targetUtilization": 80, "perReplica": "25"},
    )
    await scene.passes()
    (task,) = scene.runs.begun
    assert (task.policy["metadata"]["name"], task.policy["spec"]["forecast"]["quantile"]) == ("checkout", "0.8")
    demand = task.policy["spec"]["demand"]
    assert (demand["targetUtilization"], demand["perReplica"], task.lead_time_seconds) == (80, "25", 480.0)
    assert [event["metadata"]["name"] for event in task.events] == ["sale"]
    assert (task.since, task.until) == (NOON - 2 * DAY, NOON)
    assert (task.quantiles, task.prices) == ((0.95,), ((1.0, 0.5),))


HPA = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
HPA_SPEC: dict[str, Any] = {
    "maxReplicas": 12,
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "checkout"},
    "metrics": [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 55}},
        }
    ],
}
LEARNS: dict[str, Any] = {"demand": {"service": "checkout", "metric": "requests_per_second"}}


async def a_learning_scene(observed_generation: int = 1) -> BacktestScene:
    """A policy that learns lead time and capacity, its HPA, and a backtest of it."""
    scene = BacktestScene()
    await scene.put_policy(**LEARNS)
    policy = scene.cluster.objects["/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingpolicies/checkout"]
    policy["metadata"]["generation"] = 1
    policy["status"] = {"observedGeneration": observed_generation, "leadTime": "8m10s", "perReplica": "42.5"}
    await scene.cluster.create(HPA, {"metadata": {"name": "checkout", "namespace": "shop"}, "spec": HPA_SPEC})
    return scene


async def test_what_the_policy_does_not_state_is_what_the_operator_uses() -> None:
    scene = await a_learning_scene()
    await scene.put()
    await scene.passes()
    (task,) = scene.runs.begun
    assert task.live == LiveValues(lead_time_seconds=490.0, per_replica=42.5, hpa_target=0.55, maximum=12)


async def test_what_the_backtest_assumes_takes_precedence_and_does_not_depend_on_the_status() -> None:
    scene = await a_learning_scene()
    await scene.put(assumptions={"leadTime": "8m", "targetUtilization": 80, "perReplica": "25"})
    await scene.passes()
    (task,) = scene.runs.begun
    assert task.live == LiveValues(maximum=12)


async def test_the_status_of_an_earlier_spec_is_not_used() -> None:
    scene = await a_learning_scene(observed_generation=0)
    await scene.put()
    await scene.passes()
    (task,) = scene.runs.begun
    assert task.live == LiveValues(hpa_target=0.55, maximum=12)


async def test_a_target_that_cannot_be_found_is_unknown() -> None:
    scene = await a_learning_scene()
    await scene.cluster.delete(f"{HPA}/checkout")
    await scene.put()
    await scene.passes()
    (task,) = scene.runs.begun
    assert task.live == LiveValues(lead_time_seconds=490.0, per_replica=42.5)


async def test_a_target_that_its_api_refuses_to_show_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await a_learning_scene()

    async def refuse(_: Any) -> Any:
        raise AWSAccessDeniedError("reading group web: the operator has no AWS credentials")

    monkeypatch.setattr(HorizontalPodAutoscaler, "observe", refuse)
    await scene.put()
    await scene.passes()
    (task,) = scene.runs.begun
    assert task.live == LiveValues(lead_time_seconds=490.0, per_replica=42.5)


async def test_events_select_an_inline_policy_by_the_labels_of_the_backtest() -> None:
    scene = BacktestScene()
    event = an_event("sale", NOON, NOON + DAY, policies={"matchLabels": {"tier": "web"}})
    records = [EventRecord("shop", "sale", "sale", 1, 1, NOON, {}, event)]
    metadata = {"name": "release", "namespace": "shop", "labels": {"tier": "web"}}
    backtest = parse_backtest({"metadata": metadata, "spec": {"policySpec": POLICY_SPEC}})
    limits = BacktestLimits(1, DAY, 60 * DAY, 512)
    task = await task_of(backtest, scene.cluster, scene.controller.find, records, (NOON - DAY, NOON), limits, NOON)
    assert [event["metadata"]["name"] for event in task.events] == ["sale"]
    assert task.policy["metadata"]["name"] == "inline"
