"""Services whose demand a namespace may read: policies and backtests of other services read nothing."""

from dataclasses import replace
from typing import Any

import pytest

from predictive_scaling.cluster.index_comparison import IndexComparison
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.cluster.reviewed_objects import policy_record
from predictive_scaling.control.jobs.backtest_tasks import BacktestLimits
from predictive_scaling.handlers import indices
from predictive_scaling.handlers.context import HandlerContext
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.settings import read_settings
from tests.support.backtest_scenes import POLICY_SPEC, BacktestScene
from tests.support.builders import a_policy
from tests.support.cluster import InMemoryCluster
from tests.support.control import World, a_record

OWNERS = {"shop": ("checkout", "shop-*"), "bank": ("vault",), "*": ("shared",)}
KEY = PolicyKey("shop", "checkout")


def a_body(service: str | None = None, name: str = "checkout") -> dict[str, Any]:
    demand = {"metric": "requests_per_second"} | ({} if service is None else {"service": service})
    target = {"horizontalPodAutoscaler": {"name": "checkout"}}
    metadata = {"name": name, "namespace": "shop", "uid": "u", "resourceVersion": "1", "generation": 1}
    metadata["creationTimestamp"] = "2026-01-01T00:00:00Z"
    spec = {"mode": "Auto", "target": target, "demand": demand, "replicas": {"max": 40}}
    return {"metadata": metadata, "spec": spec}


@pytest.mark.parametrize("service", [None, "checkout", "shop-search", "shared"])
def test_a_policy_may_read_the_services_of_its_namespace_and_of_all(service: str | None) -> None:
    record = policy_record(a_body(service), NamespacePatterns(OWNERS))
    assert record.policy is not None
    assert record.problem is None


@pytest.mark.parametrize(("service", "name"), [("vault", "checkout"), (None, "vault"), ("shopping", "x")])
def test_a_policy_of_another_service_says_what_to_change(service: str | None, name: str) -> None:
    record = policy_record(a_body(service, name), NamespacePatterns(OWNERS))
    assert record.policy is None
    assert record.blocked is not None
    assert record.problem is not None
    assert record.problem.reason == "ServiceNotAllowed"
    assert f"of service {service or name}; allowed: checkout, shop-*, shared." in record.problem.message
    assert "spec.demand.service" in record.problem.message
    assert "PREDICTIVE_SCALING_NAMESPACE_SERVICES" in record.problem.message


def test_a_leading_indicator_is_restricted_like_the_demand() -> None:
    body = a_body()
    body["spec"]["forecast"] = {
        "regressors": [{"service": "shared", "metric": "m"}, {"service": "vault", "metric": "m"}]
    }
    assert policy_record(body).policy is not None
    record = policy_record(body, NamespacePatterns(OWNERS))
    assert record.policy is None
    assert record.problem is not None
    assert record.problem.reason == "ServiceNotAllowed"
    assert "of service vault; allowed: checkout, shop-*, shared." in record.problem.message
    assert "Set spec.forecast.regressors[1].service to an allowed service" in record.problem.message


def test_without_a_restriction_every_service_is_free() -> None:
    assert policy_record(a_body("vault")).policy is not None


async def test_the_watch_and_its_comparison_apply_the_restriction_of_the_settings() -> None:
    world = World(namespace_services=OWNERS)
    indexed = await indices.policies(body=a_body("vault"), memo=HandlerContext(world.informer_cache, lambda: None))  # pyright: ignore[reportArgumentType] (a body as kopf passes it)
    assert indexed[KEY].problem is not None
    cluster = InMemoryCluster()
    cache = InformerCache(cluster, world.informer_cache.services)
    cache.bind({}, {}, {}, {}, {})
    cluster.objects["/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingpolicies/checkout"] = a_body("vault")
    await IndexComparison(cluster, cache, ()).compare()
    compared = cache.policy(KEY)
    assert compared is not None
    assert compared.problem is not None


def blocked(policy: ScalingPolicy) -> PolicyRecord:
    """The record of shop/checkout, which reads `vault`, as an installation with OWNERS keeps it."""
    shown = policy_record(a_body("vault"), NamespacePatterns(OWNERS))
    return replace(a_record(policy), policy=None, problem=shown.problem, blocked=policy)


async def test_a_blocked_policy_reads_and_writes_nothing_and_is_stalled() -> None:
    world = World()
    world.records[KEY] = [blocked(a_policy())]
    await world.turn(20)
    assert world.states.requirements() == []
    assert world.target.minimum == 2
    stalled, ready = world.condition("Stalled"), world.condition("Ready")
    assert (stalled["status"], stalled["reason"]) == ("True", "ServiceNotAllowed")
    assert (ready["status"], ready["reason"]) == ("False", "ServiceNotAllowed")
    assert "forecast" not in world.status


async def test_a_policy_that_becomes_blocked_holds_its_floor_until_it_leaves_auto() -> None:
    world = World()
    await world.turn(20)
    raised = world.target.minimum
    assert raised == 9
    world.restart()
    (record,) = world.records[KEY]
    seen = {"status": record.status, "finalizers": record.finalizers, "uid": record.uid}
    world.records[KEY] = [replace(blocked(a_policy()), **seen)]
    await world.turn(20)
    assert world.target.minimum == raised
    world.records[KEY] = [replace(blocked(a_policy(mode="Recommend")), **seen, generation=2)]
    await world.turn(2)
    assert world.target.minimum == 2


@pytest.mark.parametrize("inline", [True, False])
async def test_a_backtest_of_another_service_fails_before_it_reads_demand(inline: bool) -> None:
    scene = BacktestScene()
    scene.limits = replace(scene.limits, services=NamespacePatterns(OWNERS))
    scene.restart()
    spec = POLICY_SPEC | {"demand": POLICY_SPEC["demand"] | {"service": "vault"}}
    await scene.put_policy(**spec)
    await scene.put(spec={"policySpec": spec} if inline else None)
    await scene.passes(2)
    assert scene.runs.begun == []
    status, reason, message = scene.condition("Failed")
    assert (status, reason) == ("True", "ServiceNotAllowed")
    assert "namespace shop may not read the demand of service vault" in message


async def test_a_backtest_of_an_own_service_runs() -> None:
    scene = BacktestScene()
    scene.limits = replace(scene.limits, services=NamespacePatterns(OWNERS))
    scene.restart()
    await scene.put_policy()
    await scene.put()
    await scene.passes()
    assert len(scene.runs.begun) == 1


def test_backtests_have_the_restriction_of_the_settings() -> None:
    limits = BacktestLimits.of(read_settings({}, namespace_services=OWNERS))
    assert not limits.services.allows("shop", "vault")
