"""An operator that is killed, stopped or down while people edit: no decision is lost or executed twice."""

from datetime import timedelta

import pytest

from predictive_scaling.errors import LeadershipLostError
from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl
from tests.support.manifests import a_deployment, a_scaling_policy, an_autoscaler
from tests.support.observing import (
    get_decisions,
    get_minimum,
    get_phases,
    get_status,
    record_steady_demand,
    recorded_decisions,
    wait_for_condition,
    wait_for_minimum,
)
from tests.support.operator_process import SHORT_LEASE, OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("checkout")]


@pytest.fixture
async def operator(own_operator: OperatorProcess) -> OperatorProcess:
    """Not started yet; the service `checkout` has a demand of 880: nine replicas at 100 per replica."""
    await record_steady_demand(own_operator.database_url, own_operator.clock, "checkout", 880.0, timedelta(hours=8))
    return own_operator


async def assert_all_decisions_ended_once(operator: OperatorProcess, kubectl: Kubectl) -> None:
    """Every decision ends, rows and ScalingDecisions agree, and no step was executed twice."""
    final_phases = {"Succeeded", "Superseded"}
    await eventually(lambda: get_phases(kubectl), lambda phases: set(phases) <= final_phases, seconds=60)
    names = {decision["metadata"]["name"] for decision in await get_decisions(kubectl)}
    rows = await eventually(
        lambda: recorded_decisions(operator.database_url),
        lambda rows: all(row.status in ("succeeded", "superseded") for row in rows),
    )
    assert {row.id for row in rows} == names
    steps = [(row.from_replicas, row.to_replicas) for row in rows if row.status == "succeeded"]
    assert len(steps) == len(set(steps)), f"a step was executed twice: {steps}"
    assert all(row.attempts <= 2 for row in rows)


async def test_an_operator_killed_between_intent_and_write_writes_once_after_a_restart(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await operator.start(PREDICTIVE_SCALING_FAULT="operator.after_intent")
    await kubectl.apply(a_scaling_policy())
    assert await operator.wait_for_exit() == -9
    assert await get_minimum(kubectl) == 2
    (intent,) = await recorded_decisions(operator.database_url)
    assert (intent.status, intent.from_replicas) == ("pending", 2)

    await operator.start_after_crash(kubectl)
    await wait_for_minimum(kubectl, 9)
    await assert_all_decisions_ended_once(operator, kubectl)
    assert intent.id in {row.id for row in await recorded_decisions(operator.database_url)}


async def test_an_operator_killed_between_write_and_record_completes_the_record_after_a_restart(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await operator.start(PREDICTIVE_SCALING_FAULT="operator.after_apply")
    # In one step, because a next step would supersede the decision if the pods became ready late.
    await kubectl.apply(a_scaling_policy(scaleUp={"maxStep": 40, "period": "1m"}))
    assert await operator.wait_for_exit() == -9
    (decision,) = await recorded_decisions(operator.database_url)
    assert decision.status == "executing"
    assert await get_minimum(kubectl) == decision.to_replicas

    await operator.start_after_crash(kubectl)
    await wait_for_minimum(kubectl, 9)
    await assert_all_decisions_ended_once(operator, kubectl)
    completed = {row.id: row for row in await recorded_decisions(operator.database_url)}[decision.id]
    assert completed.status == "succeeded"


async def test_a_minimum_set_after_a_crash_between_write_and_record_is_respected(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    await operator.start(PREDICTIVE_SCALING_FAULT="operator.after_apply")
    await kubectl.apply(a_scaling_policy())
    assert await operator.wait_for_exit() == -9
    await kubectl.apply(an_autoscaler("checkout", minimum=3, maximum=40))
    await operator.start_after_crash(kubectl)
    conflict = await wait_for_condition(kubectl, "Conflict", "True", "ForeignWriter", seconds=60)
    assert "kubectl-client-side-apply set the minimum to 3" in conflict["message"]
    await operator.wait_for_ticks(4)
    assert await get_minimum(kubectl) == 3
    assert (await get_status(kubectl))["takeover"]["originalMinimum"] == 2


async def test_edits_made_while_the_operator_was_down_are_applied_after_its_start(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    for name in ("edited", "deleted"):
        await kubectl.apply(a_deployment(name), an_autoscaler(name, minimum=2, maximum=40))
    demand = {"service": "checkout", "metric": "requests_per_second", "perReplica": "100"}
    await operator.start()
    await kubectl.apply(a_scaling_policy("edited", demand=demand), a_scaling_policy("deleted", demand=demand))
    for name in ("edited", "deleted"):
        await eventually(lambda name=name: get_minimum(kubectl, name), lambda floor: floor == 9, seconds=40)
    assert await operator.terminate() == 0

    await kubectl.apply(a_scaling_policy(demand=demand), a_scaling_policy("edited", maximum=5, demand=demand))
    await kubectl("delete", "sp", "deleted", "--wait=false")
    await operator.start()
    await wait_for_minimum(kubectl, 9)
    await eventually(lambda: get_minimum(kubectl, "edited"), lambda floor: floor == 5, seconds=40)
    await eventually(lambda: get_minimum(kubectl, "deleted"), lambda floor: floor == 2, seconds=40)
    await kubectl("wait", "--for=delete", "sp/deleted")
    generation = (await kubectl.get("sp", "edited"))["metadata"]["generation"]
    await eventually(
        lambda: get_status(kubectl, "edited"), lambda status: status.get("observedGeneration") == generation
    )


async def test_sigterm_exits_with_0_and_releases_the_lease_at_once(operator: OperatorProcess, kubectl: Kubectl) -> None:
    await operator.start()
    await kubectl.apply(a_scaling_policy())
    await wait_for_minimum(kubectl, 9)
    assert await operator.terminate() == 0
    assert "shutdown_overdue" not in operator.log
    lease = await Kubectl(kubectl.program, kubectl.kubeconfig, "default").get("lease", operator.lease)
    assert lease["spec"].get("holderIdentity", "") == ""
    assert await get_minimum(kubectl) == 9


async def test_the_original_minimum_is_restored_after_a_restart(operator: OperatorProcess, kubectl: Kubectl) -> None:
    await operator.start()
    await kubectl.apply(a_scaling_policy())
    await wait_for_minimum(kubectl, 9)
    await operator.kill()
    await operator.start_after_crash(kubectl)
    await kubectl("delete", "sp", "checkout")
    assert await get_minimum(kubectl) == 2


def a_standby_of(operator: OperatorProcess) -> OperatorProcess:
    """Return another process for the same lease, database and namespace; not started yet."""
    folder = operator.folder / "standby"
    folder.mkdir()
    url, clock, settings = operator.database_url, operator.clock, operator.settings
    return OperatorProcess(operator.kubeconfig, url, clock, folder, settings, lease=operator.lease)


async def test_a_leader_that_lost_its_lease_exits_and_leads_again_without_stale_state(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    operator.settings = {**operator.settings, **SHORT_LEASE}
    standby = a_standby_of(operator)
    await operator.start()
    await standby.start()
    try:
        # The first leader observes the target before the takeover and caches that.
        await kubectl.apply(a_scaling_policy(mode="Recommend"))
        await eventually(lambda: get_status(kubectl), lambda status: status.get("floor") == 9, seconds=40)
        operator.freeze()
        await eventually(standby.is_leader, seconds=60)
        await kubectl.apply(a_scaling_policy())
        await wait_for_minimum(kubectl, 9)
        operator.thaw()
        assert await operator.wait_for_exit() == LeadershipLostError.exit_code
        assert "was lost" in operator.log

        await operator.start()  # as Kubernetes does
        assert await standby.terminate() == 0
        await eventually(operator.is_leader, seconds=40)
        await operator.wait_for_ticks(4)
        assert (await get_status(kubectl))["takeover"]["originalMinimum"] == 2
        await kubectl("delete", "sp", "checkout")
        assert await get_minimum(kubectl) == 2
    finally:
        if standby.is_running:
            await standby.kill()


async def test_a_standby_takes_over_from_a_killed_leader_and_repeats_no_decision(
    operator: OperatorProcess, kubectl: Kubectl
) -> None:
    operator.settings = {**operator.settings, **SHORT_LEASE}
    standby = a_standby_of(operator)
    await operator.start()
    await kubectl.apply(a_scaling_policy())
    await wait_for_minimum(kubectl, 9)
    await standby.start()
    try:
        await operator.kill()
        await kubectl.apply(a_scaling_policy(maximum=5))
        await wait_for_minimum(kubectl, 5, seconds=60)
        await eventually(lambda: get_status(kubectl), lambda status: status.get("floor") == 5, seconds=20)
        await assert_all_decisions_ended_once(operator, kubectl)
    finally:
        await standby.kill()
