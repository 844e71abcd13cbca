"""The control loop on Auto Scaling groups of moto's HTTP server: raise, conflict, restart, restore."""

import uuid
from typing import Any

import pytest

from predictive_scaling.control.actuation import execution
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import GroupField
from predictive_scaling.targets.auto_scaling_group import AutoScalingGroup
from predictive_scaling.targets.aws_clients import AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from predictive_scaling.targets.port import Target
from tests.support.aws_faults import Fault, faulty_aws
from tests.support.control import TargetSpec, World, a_policy_named, an_edited_policy
from tests.support.eventually import eventually
from tests.support.groups import WAIT_SECONDS, GroupAdministrator

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("logs")]

ROLE = "arn:aws:iam::123456789012:role/scaler"


class GroupWorld(World):
    """A control loop whose policies may name groups. Each process reads AWS again."""

    def _assemble(self) -> None:
        self.groups = GroupDescriptions(AWSClients(), 0.0, WAIT_SECONDS)
        super()._assemble()

    def _find(self, namespace: str, spec: TargetSpec) -> Target:
        if spec.auto_scaling_group is not None:
            return AutoScalingGroup(self.groups, namespace, spec.auto_scaling_group)
        return super()._find(namespace, spec)


class Killed(BaseException):
    """Ends a process; no handler of errors catches it."""


def a_policy_of(group: str, *, region: str = "eu-west-1", field: str = "MinSize", **spec: Any) -> ScalingPolicy:
    generation = spec.pop("generation", 1)
    policy = an_edited_policy(generation=generation, **spec)
    target = TargetSpec.model_validate({"autoScalingGroup": {"name": group, "region": region, "field": field}})
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"target": target})})


@pytest.fixture
def administrator(aws_endpoint: str) -> GroupAdministrator:
    return GroupAdministrator(aws_endpoint)


@pytest.fixture
async def group(administrator: GroupAdministrator) -> str:
    """The name of a new group with MinSize 2 and MaxSize 40."""
    name = f"web-{uuid.uuid4().hex[:8]}"
    await administrator.create(name)
    return name


async def raised(group: str, **policy: Any) -> GroupWorld:
    """A policy that raised a group from 2 to 9."""
    world = GroupWorld(a_policy_of(group, **policy))
    await world.turn(20)
    assert world.status["floor"] == 9
    return world


@pytest.mark.parametrize("field", list(GroupField))
async def test_a_group_is_raised_verified_and_restored(
    field: GroupField, administrator: GroupAdministrator, group: str
) -> None:
    world = await raised(group, field=field)
    assert (await administrator.describe(group))[field] == 9
    assert world.status["target"] == f"asg/{group}"
    assert world.condition("Verified")["status"] == "True"
    assert world.condition("Conflict")["status"] == "False"
    world.delete("checkout")
    await world.turn(2)
    assert world.records == {}
    assert (await administrator.describe(group))[field] == 2


async def test_a_restart_knows_our_own_write(administrator: GroupAdministrator, group: str) -> None:
    world = await raised(group)
    world.restart()
    await world.turn(3)
    assert world.condition("Conflict")["status"] == "False"
    world.delete("checkout")
    await world.turn(2)
    assert (await administrator.describe(group))["MinSize"] == 2


async def test_a_foreign_write_is_a_conflict_and_is_not_overwritten(
    administrator: GroupAdministrator, group: str
) -> None:
    world = await raised(group)
    await administrator.update(group, MinSize=2)
    await world.turn(4)
    conflict = world.condition("Conflict")
    assert (conflict["status"], conflict["reason"]) == ("True", "ForeignWriter")
    assert "another client of AWS set the minimum to 2" in conflict["message"]
    assert "leave MinSize out of its manifest" in conflict["message"]
    assert (await administrator.describe(group))["MinSize"] == 2
    world.restart()
    await world.turn(2)
    assert world.condition("Conflict")["status"] == "True"
    world.put(a_policy_of(group, generation=2))
    await world.turn(20)
    assert (await administrator.describe(group))["MinSize"] == 9


@pytest.mark.parametrize(("point", "written"), [("operator.after_intent", 2), ("operator.after_apply", 4)])
async def test_a_crash_around_the_write_is_no_conflict(
    point: str, written: int, monkeypatch: pytest.MonkeyPatch, administrator: GroupAdministrator, group: str
) -> None:
    def reached(name: str) -> None:
        if name == point:
            raise Killed

    world = GroupWorld(a_policy_of(group))
    with monkeypatch.context() as crashing:
        crashing.setattr(execution, "failpoint", reached)
        with pytest.raises(BaseExceptionGroup):
            await world.turn(2)
    assert (await administrator.describe(group))["MinSize"] == written
    world.sync()
    world.restart()
    await world.turn(20)
    assert world.condition("Conflict")["status"] == "False"
    assert (await administrator.describe(group))["MinSize"] == 9
    world.delete("checkout")
    await world.turn(2)
    assert (await administrator.describe(group))["MinSize"] == 2


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_policy_that_names_the_group_of_another_region_restores_the_first(
    restarted: bool, aws_endpoint: str, administrator: GroupAdministrator, group: str
) -> None:
    ohio = GroupAdministrator(aws_endpoint, "us-east-2")
    await ohio.create(group, minimum=3)
    world = await raised(group)
    world.put(a_policy_of(group, region="us-east-2", generation=2))
    if restarted:
        world.restart()
    await world.turn(20)
    assert (await administrator.describe(group))["MinSize"] == 2
    assert (await ohio.describe(group))["MinSize"] == 9


async def test_a_change_of_the_field_restores_the_first_field(administrator: GroupAdministrator, group: str) -> None:
    world = await raised(group)
    world.put(a_policy_of(group, field="DesiredCapacity", generation=2))
    await world.turn(20)
    described = await administrator.describe(group)
    assert (described["MinSize"], described["DesiredCapacity"]) == (2, 9)


async def test_policies_of_two_namespaces_do_not_share_a_group(administrator: GroupAdministrator, group: str) -> None:
    world = await raised(group)
    policy = a_policy_of(group)
    metadata = policy.metadata.model_copy(update={"namespace": "billing", "name": "other", "uid": "other"})
    world.put(policy.model_copy(update={"metadata": metadata}))
    await world.turn(2)
    (key,) = (key for key in world.records if key.namespace == "billing")
    (record,) = world.records[key]
    conflicts = [condition for condition in record.status["conditions"] if condition["type"] == "Conflict"]
    assert [(condition["status"], condition["reason"]) for condition in conflicts] == [("True", "TargetHeldByPolicy")]


async def test_a_throttled_account_is_reported_and_heals(
    aws_endpoint: str, monkeypatch: pytest.MonkeyPatch, administrator: GroupAdministrator, group: str
) -> None:
    async with faulty_aws(aws_endpoint) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
        faults.fail(Fault("Throttling", message="Rate exceeded"))
        world = GroupWorld(a_policy_of(group))
        await world.turn(10)
        ready = world.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "AWSThrottled")
        assert faults.count("DescribeAutoScalingGroups") <= 6
        faults.heal()
        world.restart()
        await world.turn(30)
        assert world.condition("Ready")["status"] == "True"
    assert (await administrator.describe(group))["MinSize"] == 9


async def test_a_missing_group_is_not_found_until_it_exists(administrator: GroupAdministrator) -> None:
    name = f"web-{uuid.uuid4().hex[:8]}"
    world = GroupWorld(a_policy_of(name))
    await world.turn(1)
    assert world.condition("Ready")["reason"] == "TargetNotFound"
    await administrator.create(name)
    await world.turn(20)
    assert (await administrator.describe(name))["MinSize"] == 9


async def test_a_role_that_the_installation_does_not_allow_stalls_the_policy(group: str) -> None:
    policy = a_policy_of(group)
    target = TargetSpec.model_validate({"autoScalingGroup": {"name": group, "region": "eu-west-1", "roleArn": ROLE}})
    world = GroupWorld(policy.model_copy(update={"spec": policy.spec.model_copy(update={"target": target})}))
    await world.turn(1)
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "TargetUnsupported")
    assert "may not assume" in stalled["message"]


async def test_a_slow_aws_does_not_hold_up_the_other_targets(
    aws_endpoint: str, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    async with faulty_aws(aws_endpoint) as faults:
        monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
        faults.hold()
        world = GroupWorld(a_policy_of(group))
        world.groups = GroupDescriptions(AWSClients(), 0.0)
        world.put(a_policy_named("search"))
        await world.turn(1)
        assert faults.answered == 0
        ready = world.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("False", "AWSUnavailable")
        await world.turn(2)
        assert world.target.minimum > 2
        faults.heal()

        async def responses() -> bool:
            return faults.answered == len(faults.seen)

        await eventually(responses)
