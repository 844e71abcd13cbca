"""Faults of a real API server and of the data: no decision is lost or made twice, and no other policy is delayed."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.cluster import index_comparison
from predictive_scaling.cluster.client import connected
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.postgresql import PostgreSQL
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.decision_lists import DecisionLists
from tests.support.api_faults import ApiFaults, Fault, faulty_api
from tests.support.demand import record_demand
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import Manifest, a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import (
    get_condition,
    get_decisions,
    get_minimum,
    get_status,
    record_steady_demand,
    wait_for_minimum,
)
from tests.support.operator_process import NOON, OperatorProcess, running

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]
POLICIES = 1000
ENDED = {"Succeeded", "Superseded"}


@pytest.fixture(scope="module")
async def faults(cluster: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[ApiFaults]:
    async with faulty_api(cluster.kubeconfig, tmp_path_factory.mktemp("faults")) as faults:
        yield faults


@pytest.fixture(scope="module")
async def operator(
    faults: ApiFaults, postgres: PostgreSQL, database_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[OperatorProcess]:
    """An operator of all namespaces that reaches the API server through the proxy."""
    url = await postgres.create_database(f"operator_{monotonic():.0f}_faults", database_template)
    folder: Path = tmp_path_factory.mktemp("operator")
    process = OperatorProcess(faults.kubeconfig, url, ReplayClock(NOON, monotonic(), 60), folder)
    process.prepare = compare_indices_often
    async with running(process):
        yield process


def compare_indices_often() -> None:
    """Compare the watches' indices with the API server six times as often, so that no test waits for it."""
    index_comparison.INTERVAL_SECONDS = 10.0


@pytest.fixture
async def policy(operator: OperatorProcess, faults: ApiFaults, namespace: str) -> AsyncGenerator[Manifest]:
    """A policy whose demand needs nine replicas. All faults end with the test."""
    await record_steady_demand(operator.database_url, operator.clock, namespace, 880.0, timedelta(hours=12))
    yield a_scaling_policy(demand=demand_of(namespace))
    faults.clear()


def demand_of(service: str) -> dict[str, str]:
    return {"service": service, "metric": "requests_per_second", "perReplica": "100"}


async def assert_one_raise(operator: OperatorProcess, kubectl: Kubectl) -> None:
    """The steps from 2 to 9 were each decided and executed once, and have a row each."""

    async def finished() -> list[tuple[int, int, str]]:
        decisions = await get_decisions(kubectl)
        return [(d["spec"]["from"], d["spec"]["to"], d.get("status", {}).get("phase", "")) for d in decisions]

    def is_complete(steps: list[tuple[int, int, str]]) -> bool:
        return bool(steps) and steps[-1][1] == 9 and {phase for *_, phase in steps} <= ENDED

    # A write whose answer was lost is observed in the next tick, which may decide the next step at once.
    steps = await eventually(finished, is_complete, seconds=90)
    assert steps[-1][2] == "Succeeded"
    assert [before for before, *_ in steps] == [2, *(after for _, after, _ in steps[:-1])], "no step twice, no gap"
    async with Database(operator.database_url, purpose="tests", max_size=1) as database:
        rows = (await DecisionLists(database).page(500)).decisions
    own = [row for row in rows if row.namespace == kubectl.namespace]
    assert sorted((row.from_replicas, row.to_replicas) for row in own) == [step[:2] for step in steps]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PATCH", "/horizontalpodautoscalers/checkout", status=500, times=3),
        Fault("PATCH", "/horizontalpodautoscalers/checkout", status=429, times=3),
        Fault("PATCH", "/horizontalpodautoscalers/checkout", status=409, times=2),
        Fault("PATCH", "/horizontalpodautoscalers/checkout", status=200, times=2),
        Fault("PATCH", "/horizontalpodautoscalers/checkout", is_lost=True, times=2),
        Fault("POST", "/scalingdecisions", status=500, times=2),
        Fault("POST", "/scalingdecisions", is_lost=True, times=1),
        Fault("PATCH", "/scalingpolicies/checkout", status=500, times=3),
    ],
    ids=lambda fault: f"{fault.method}{fault.path.replace('/', '-')}-{'lost' if fault.is_lost else fault.status}",
)
async def test_a_failing_request_neither_loses_nor_repeats_a_decision(
    fault: Fault, faults: ApiFaults, operator: OperatorProcess, kubectl: Kubectl, policy: Manifest
) -> None:
    fault = faults.add(replace(fault, path=f"/{kubectl.namespace}{fault.path}"))
    await kubectl.apply(policy)
    await wait_for_minimum(kubectl, 9, seconds=90)
    await eventually(lambda: _hits(fault), lambda hits: hits == fault.times, seconds=60)
    await assert_one_raise(operator, kubectl)


async def test_a_slow_api_server_delays_a_raise_and_loses_nothing(
    faults: ApiFaults, operator: OperatorProcess, kubectl: Kubectl, policy: Manifest
) -> None:
    for method in ("PATCH", "POST", "GET"):
        faults.add(Fault(method, f"/{kubectl.namespace}/", delay_seconds=1.0))
    await kubectl.apply(policy)
    await wait_for_minimum(kubectl, 9, seconds=90)
    await assert_one_raise(operator, kubectl)


async def test_watches_that_stall_without_closing_hide_nothing_for_long(
    faults: ApiFaults, operator: OperatorProcess, kubectl: Kubectl, policy: Manifest
) -> None:

    async def opened_watches() -> int:
        return faults.watches

    await eventually(opened_watches)
    faults.stall_watches()
    await kubectl.apply(policy)
    await wait_for_minimum(kubectl, 9, seconds=150)
    await kubectl("delete", "sp", "checkout", "--wait=false")
    await wait_for_minimum(kubectl, 2, seconds=150)
    faults.clear()
    assert operator.is_running


async def test_a_policy_edited_between_decision_and_write_supersedes_the_decision(
    faults: ApiFaults, operator: OperatorProcess, kubectl: Kubectl, policy: Manifest
) -> None:
    spec = policy["spec"] | {"scaleUp": {"maxStep": 40, "period": "1m"}}
    # All of them: the operator repeats a request that waits for too long.
    held = faults.add(Fault("POST", f"/{kubectl.namespace}/scalingdecisions", released=asyncio.Event()))
    await kubectl.apply(policy | {"spec": spec})
    await eventually(lambda: _hits(held), lambda hits: hits >= 1, seconds=60)
    await kubectl.apply(policy | {"spec": spec | {"replicas": {"min": 1, "max": 5}}})
    assert held.released is not None
    held.released.set()
    await wait_for_minimum(kubectl, 5, seconds=60)

    async def outcomes() -> dict[int, str]:
        return {d["spec"]["to"]: d.get("status", {}).get("phase", "") for d in await get_decisions(kubectl)}

    await eventually(outcomes, lambda phases: phases == {9: "Superseded", 5: "Succeeded"}, seconds=60)
    assert await get_minimum(kubectl) == 5


async def _hits(fault: Fault) -> int:
    return fault.hits


async def test_a_terminating_namespace_is_released_and_delays_no_other(
    cluster: Kubernetes, operator: OperatorProcess, namespace: str, kubectl: Kubectl, policy: Manifest
) -> None:
    ending = Kubectl(kubectl.program, kubectl.kubeconfig, f"{namespace}-ending")
    await kubectl("create", "namespace", ending.namespace)
    await ending.apply(a_deployment("checkout"), an_autoscaler("checkout", minimum=2, maximum=40), policy)
    await eventually(lambda: get_minimum(ending), lambda minimum: minimum == 9, seconds=60)
    await kubectl("delete", "namespace", ending.namespace)
    await kubectl.apply(policy)
    await wait_for_minimum(kubectl, 9, seconds=60)
    assert operator.is_running


async def test_a_thousand_policies_created_at_once_do_not_delay_one_that_acts(
    cluster: Kubernetes, operator: OperatorProcess, kubectl: Kubectl, policy: Manifest
) -> None:
    crowd = [
        a_scaling_policy(f"policy-{number}", target={"horizontalPodAutoscaler": {"name": f"missing-{number}"}})
        for number in range(POLICIES)
    ]
    path = f"/apis/predictive-scaling.io/v1alpha1/namespaces/{kubectl.namespace}/scalingpolicies"
    async with connected(cluster.kubeconfig, connections=16, timeout_seconds=120) as client:
        await asyncio.gather(*(client.create(path, body) for body in crowd))
    await kubectl.apply(policy)
    await wait_for_minimum(kubectl, 9, seconds=120)

    async def without_status() -> int:
        return sum(not item.get("status", {}).get("conditions") for item in await kubectl.items("sp"))

    # A list of all of them is megabytes.
    await eventually(without_status, lambda count: count == 0, seconds=180, interval_seconds=2)
    await eventually(
        lambda: get_condition(kubectl, "Ready", "policy-999"),
        lambda condition: (condition["status"], condition["reason"]) == ("False", "TargetNotFound"),
    )
    async with connected(cluster.kubeconfig, connections=16, timeout_seconds=120) as client:
        await asyncio.gather(*(client.delete(f"{path}/{body['metadata']['name']}") for body in [policy, *crowd]))
    await wait_for_minimum(kubectl, 2, seconds=60)
    await eventually(lambda: kubectl.items("sp"), lambda left: len(left) == 0, seconds=60, interval_seconds=1)


async def test_garbage_in_the_data_of_one_policy_stays_within_its_bounds(
    operator: OperatorProcess, kubectl: Kubectl, policy: Manifest
) -> None:
    service = f"{kubectl.namespace}-garbage"
    now = operator.clock.now()
    values = [1e300, -1e300, 0.0, 5e-324, -1.0, 1e18, 880.0, 1e-9]
    await record_steady_demand(operator.database_url, operator.clock, service, 880.0, timedelta(minutes=2))
    await record_demand(
        *(operator.database_url, service, now + timedelta(minutes=3), now + timedelta(hours=6)),
        lambda at: values[at.minute % len(values)],
    )
    await kubectl.apply(
        a_deployment("search"),
        an_autoscaler("search", minimum=2, maximum=20),
        a_scaling_policy(
            "search",
            target={"horizontalPodAutoscaler": {"name": "search"}},
            demand=demand_of(service),
            replicas={"min": 2, "max": 20},
        ),
    )
    start = operator.clock.now()
    floors: list[int] = []

    async def garbage_lasted() -> bool:
        floors.append(await get_minimum(kubectl, "search"))
        return operator.clock.now() > start + timedelta(minutes=25)

    await eventually(garbage_lasted, seconds=90, interval_seconds=0.5)
    assert all(2 <= floor <= 20 for floor in floors)
    assert (await get_status(kubectl, "search"))["conditions"]
    await kubectl.apply(policy)
    await wait_for_minimum(kubectl, 9, seconds=60)
    await eventually(lambda: get_condition(kubectl, "Ready", "search"), lambda condition: condition["status"] == "True")
    entries = [entry for entry in operator.log_entries() if entry.get("policy") == f"{kubectl.namespace}/search"]
    assert {entry["event"] for entry in entries} >= {"floor_decided"}
    assert [entry for entry in entries if entry["level"] == "error"] == []
