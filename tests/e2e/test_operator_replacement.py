"""Replicas of the operator that replace each other, as in an upgrade or after a node that hung."""

from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.errors import LeadershipLostError
from predictive_scaling.stack.kubernetes import Kubernetes
from predictive_scaling.stack.operator_account import operator_kubeconfig
from tests.support.audit import AuditLog
from tests.support.eventually import eventually
from tests.support.floor_watch import watched_floor
from tests.support.kubectl import Kubectl
from tests.support.manifests import Manifest, a_business_event, a_scaling_policy
from tests.support.observing import get_phases, record_steady_demand, recorded_decisions, wait_for_minimum
from tests.support.operator_process import LEASE_NAMESPACE, SHORT_LEASE, OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]

WRITES = {"create", "update", "patch", "delete"}
ENDED = {"Succeeded", "Superseded"}
"""A raise whose pods are not yet ready is superseded by the next decision."""


@pytest.fixture
async def operator(own_operator: OperatorProcess) -> OperatorProcess:
    """Not started yet; the service `checkout` has a demand of 880: nine replicas at 100 per replica."""
    await record_steady_demand(own_operator.database_url, own_operator.clock, "checkout", 880.0, timedelta(hours=8))
    return own_operator


def a_replica(operator: OperatorProcess, name: str, kubeconfig: Path | None = None) -> OperatorProcess:
    """Return another replica: the same lease, database and namespace; not started yet."""
    folder = operator.folder / name
    folder.mkdir()
    url, clock, settings = operator.database_url, operator.clock, operator.settings
    return OperatorProcess(kubeconfig or operator.kubeconfig, url, clock, folder, settings, lease=operator.lease)


def a_policy(maximum: int = 40) -> Manifest:
    """Return a policy that reaches any floor in one step."""
    return a_scaling_policy(maximum=maximum, scaleUp={"maxStep": 40, "period": "1m"})


async def kill(*operators: OperatorProcess) -> None:
    for operator in operators:
        if operator.is_running:
            await operator.kill()


async def test_a_rolling_update_lowers_no_floor_and_repeats_no_decision(
    operator: OperatorProcess, kubectl: Kubectl, tmp_path: Path
) -> None:
    old_leader, old_standby = operator, a_replica(operator, "old-standby")
    new = [a_replica(operator, f"new-{number}") for number in range(2)]
    try:
        await old_leader.start()
        await eventually(old_leader.is_leader, seconds=60)
        await old_standby.start()
        await kubectl.apply(a_policy())
        await wait_for_minimum(kubectl, 9, seconds=60)
        async with watched_floor(kubectl, tmp_path / "minima") as floor:
            # A Deployment with maxSurge 1 and maxUnavailable 0 stops an old replica after a new one is ready.
            await new[0].start()
            assert await old_standby.terminate() == 0
            await new[1].start()
            start = operator.clock.now() - timedelta(minutes=1)
            times = {"start": start.isoformat(), "end": (start + timedelta(hours=5)).isoformat()}
            await kubectl.apply(a_business_event("flash-sale", **times, expect={"minReplicas": 20}))
            assert await old_leader.terminate() == 0
            minima = await floor.wait_for(20)
            await eventually(lambda: any_leads(*new), seconds=60)
            leader = new[0] if await new[0].is_leader() else new[1]
            await leader.wait_for_ticks(4)
            await eventually(lambda: get_phases(kubectl), lambda phases: set(phases) <= ENDED, seconds=120)
            minima = await floor.minima()
        assert sorted(set(minima)) == [9, 20]
        assert minima == sorted(minima), "no floor was lowered"
        steps = [(row.from_replicas, row.to_replicas) for row in await recorded_decisions(operator.database_url)]
        assert steps == [(2, 9), (9, 20)], "each decision was made once"
    finally:
        await kill(old_standby, *new)


async def any_leads(*operators: OperatorProcess) -> bool:
    return any([await operator.is_leader() for operator in operators])


async def test_a_leader_that_was_frozen_writes_nothing_after_it_was_replaced(
    cluster: Kubernetes, operator: OperatorProcess, kubectl: Kubectl, tmp_path: Path
) -> None:
    account = f"{kubectl.namespace}-standby"
    operator.settings = {**operator.settings, **SHORT_LEASE}
    standby = a_replica(operator, "standby", await operator_kubeconfig(cluster, LEASE_NAMESPACE, account))
    try:
        await operator.start()
        await eventually(operator.is_leader, seconds=60)
        await standby.start()
        await kubectl.apply(a_policy())
        await wait_for_minimum(kubectl, 9, seconds=60)
        operator.freeze()
        await eventually(standby.is_leader, seconds=60)
        await kubectl.apply(a_policy(maximum=12))
        await standby.wait_for_ticks(2)
        log = AuditLog(cluster.audit_log)
        before = len(log.requests())

        # Its state is older than the policy, and its connections and timers continue where they stopped.
        await kubectl.apply(a_policy(maximum=5))
        operator.thaw()
        assert await operator.wait_for_exit() == LeadershipLostError.exit_code
        await wait_for_minimum(kubectl, 5, seconds=60)
        await eventually(lambda: get_phases(kubectl), lambda phases: set(phases) <= ENDED, seconds=120)

        later = log.requests()[before:]
        writes = [request for request in later if request.right.verb in WRITES]
        assert [write for write in writes if not write.user.endswith(f":{account}")] == []
        assert writes
        steps = [(row.from_replicas, row.to_replicas) for row in await recorded_decisions(operator.database_url)]
        assert steps == [(2, 9), (9, 5)]
    finally:
        await kill(standby)
