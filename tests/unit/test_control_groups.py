"""The control loop on Auto Scaling groups of a simulated AWS: take-overs, confirmations, restorations."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from predictive_scaling.control.actuation import execution
from predictive_scaling.control.actuation import restoration as restore
from predictive_scaling.control.actuation.ownership import FINALIZER, path_of
from predictive_scaling.control.target_claims import Claim, TargetClaims
from predictive_scaling.errors import TargetUnsupportedError
from predictive_scaling.ports import Ports
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.target import AutoScalingGroupTarget
from predictive_scaling.resources.vocabulary import GroupField
from predictive_scaling.settings import read_settings
from predictive_scaling.targets.auto_scaling_group import AutoScalingGroup
from predictive_scaling.targets.aws_clients import Account, AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from predictive_scaling.targets.port import Target
from tests.support.builders import NOON
from tests.support.cluster import InMemoryCluster
from tests.support.control import TargetSpec, World, a_policy_named, a_record, a_state, an_edited_policy
from tests.support.groups import WAIT_SECONDS, a_group
from tests.support.simulated_aws import SimulatedAWS, a_refusal, an_activity, use_simulated_aws

pytestmark = pytest.mark.usefixtures("logs")

SHOP, BILLING = (f"arn:aws:iam::123456789012:role/{name}" for name in ("shop", "billing"))
HEIR = PolicyKey("billing", "other")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> SimulatedAWS:
    return use_simulated_aws(monkeypatch, threads=False)


class GroupWorld(World):
    """A control loop whose policies name groups; each namespace may assume its own role only."""

    def _assemble(self) -> None:
        self.groups = GroupDescriptions(AWSClients({"shop": [SHOP], "billing": [BILLING]}), 0.0, WAIT_SECONDS)
        self.specs: list[AutoScalingGroupTarget] = []
        super()._assemble()

    def _find(self, namespace: str, spec: TargetSpec) -> Target:
        if spec.auto_scaling_group is None:
            return super()._find(namespace, spec)
        self.specs.append(spec.auto_scaling_group)
        return AutoScalingGroup(self.groups, namespace, spec.auto_scaling_group)


def a_policy_of(role_arn: str = SHOP, *, field: str = "MinSize", **spec: Any) -> ScalingPolicy:
    policy = an_edited_policy(**spec)
    group = {"name": "web", "region": "eu-west-1", "roleArn": role_arn, "field": field}
    target = TargetSpec.model_validate({"autoScalingGroup": group})
    return policy.model_copy(update={"spec": policy.spec.model_copy(update={"target": target})})


def of_billing(policy: ScalingPolicy) -> ScalingPolicy:
    metadata = policy.metadata.model_copy(update={"namespace": "billing", "name": "other", "uid": "other"})
    return policy.model_copy(update={"metadata": metadata})


async def raised(aws: SimulatedAWS) -> GroupWorld:
    """A policy that raised the group from 2 to 9."""
    world = GroupWorld(a_policy_of())
    await world.turn(20)
    assert aws.groups["web"]["MinSize"] == 9
    return world


async def test_a_group_handed_on_to_another_namespace_gets_its_original_size_from_its_own_role(
    aws: SimulatedAWS,
) -> None:
    world = await raised(aws)
    world.put(of_billing(a_policy_of(BILLING)))
    await world.turn(2)
    world.delete("checkout")
    await world.turn(20)
    taken = world.cluster.objects[path_of(HEIR)]["status"]["takeover"]
    assert (taken["originalMinimum"], taken["autoScalingGroup"]["roleArn"]) == (2, BILLING)
    assert aws.groups["web"]["MinSize"] == 9
    (heir,) = world.records[HEIR]
    world.cluster.objects[path_of(HEIR)]["metadata"]["deletionTimestamp"] = "2026-06-17T12:00:00Z"
    world.records[HEIR] = [replace(heir, deleted=True)]
    await world.turn(2)
    assert HEIR not in world.records
    assert aws.groups["web"]["MinSize"] == 2


def test_the_first_takeover_of_a_group_counts_across_namespaces() -> None:
    takeover = Takeover(target_uid="123456789012/eu-west-1/web/MinSize", original_minimum=2, since=NOON)
    first, heir = a_record(a_policy_of()), a_record(of_billing(a_policy_of(BILLING)))
    claims = TargetClaims.of([Claim(first, a_state(takeover=takeover)), Claim(heir, a_state())])
    assert claims.first_takeover(heir, takeover.target_uid) == takeover


async def test_a_write_without_a_response_is_confirmed_by_the_next_observation(aws: SimulatedAWS) -> None:
    world = GroupWorld(a_policy_of())
    aws.loses_responses = True
    await world.turn(80)
    sizes = [parameters["MinSize"] for _, parameters in aws.written]
    assert sizes[-1] == 9
    await world.turn(2)
    assert "replaces" not in world.status["takeover"]
    # A person resets the group to what the last write replaced: a foreign write like any other.
    aws.groups["web"]["MinSize"] = [2, *sizes][-2]
    await world.turn(20)
    assert world.condition("Conflict")["status"] == "True"
    assert len(aws.written) == len(sizes)


@pytest.mark.parametrize("code", ["Throttling", "AccessDenied"])
async def test_a_deletion_waits_longer_for_a_group_than_its_cooldown_and_pauses(
    aws: SimulatedAWS, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    world = await raised(aws)
    aws.error = a_refusal(code, "DescribeAutoScalingGroups")
    seconds = 1000.0
    monkeypatch.setattr(restore, "monotonic", lambda: seconds)
    world.delete("checkout")
    await world.turn(1)
    seconds += 600.0
    await world.turn(20)
    assert world.policy()["metadata"]["finalizers"] == [FINALIZER]
    seconds += 61.0
    await world.turn(40)
    assert world.records == {}
    assert aws.groups["web"]["MinSize"] == 9


async def test_a_group_is_restored_as_soon_as_aws_responds_again(aws: SimulatedAWS) -> None:
    world = await raised(aws)
    aws.error = a_refusal("Throttling", "DescribeAutoScalingGroups")
    world.delete("checkout")
    await world.turn(10)
    aws.error = None
    await world.turn(40)
    assert world.records == {}
    assert aws.groups["web"]["MinSize"] == 2


class Killed(BaseException):
    """Ends a process; no handler of errors catches it."""


async def test_an_unfinished_decision_is_taken_up_for_the_group_that_was_taken_over(
    aws: SimulatedAWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(name: str) -> None:
        if name == "operator.after_apply":
            raise Killed

    world = GroupWorld(a_policy_of())
    with monkeypatch.context() as crashing:
        crashing.setattr(execution, "failpoint", reached)
        with pytest.raises(BaseExceptionGroup):
            await world.turn(2)
    assert aws.groups["web"]["MinSize"] == 4
    world.sync()
    world.put(a_policy_of(field="DesiredCapacity", generation=2))
    world.restart()
    await world.leadership.campaign()
    await world.loop.run()
    assert world.specs[0].field is GroupField.MIN_SIZE
    await world.turn(20)
    assert aws.groups["web"]["MinSize"] == 2


async def test_throttling_for_ten_minutes_loses_nothing_and_holds_up_no_other_target(aws: SimulatedAWS) -> None:
    world = await raised(aws)
    world.put(a_policy_named("search"))
    aws.error = a_refusal("Throttling", "DescribeAutoScalingGroups")
    writes = len(aws.written)
    until = world.clock.now() + timedelta(minutes=10)
    while world.clock.now() < until:
        await world.turn(1)
    ready = world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "AWSThrottled")
    assert world.status["takeover"]["originalMinimum"] == 2
    assert (aws.groups["web"]["MinSize"], len(aws.written)) == (9, writes)
    assert world.target.minimum == 9
    aws.error = None
    world.put(a_policy_of(generation=2, min=12))
    await world.turn(40)
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Conflict")["status"] == "False"
    assert aws.groups["web"]["MinSize"] == 12


async def a_late_raise(aws: SimulatedAWS) -> GroupWorld:
    """A policy whose group has too few instances until the deadline of its raises."""
    aws.capacity = 3
    world = GroupWorld(a_policy_of())
    await world.turn(20)
    for _ in range(120):
        await world.turn(1, step=timedelta(seconds=30))
        if world.condition("Verified")["status"] == "False":
            return world
    raise AssertionError(f"no raise failed: {world.phases}")


async def test_a_late_raise_of_a_group_names_the_cause_of_aws(aws: SimulatedAWS) -> None:
    message = "We currently do not have sufficient c5.large capacity in the Availability Zone you requested."
    # The clock of the test takes no real time, by which activities are selected.
    aws.activities = [an_activity(message, ago_seconds=-600)]
    world = await a_late_raise(aws)
    verified = world.condition("Verified")
    assert (verified["status"], verified["reason"]) == ("False", "InsufficientCapacity")
    assert "do not have sufficient c5.large capacity" in verified["message"]
    await world.events.send()
    notes = [body["note"] for path, body in world.cluster.objects.items() if "/events/" in path]
    assert any(note.startswith("InsufficientCapacity: AWS failed once to launch instances") for note in notes)
    paths = [path for path in world.cluster.objects if "/scalingdecisions/" in path]
    causes = {world.cluster.objects[path]["status"].get("cause") for path in paths}
    assert "InsufficientCapacity" in causes
    assert aws.groups["web"]["MinSize"] > 3


async def test_a_late_raise_without_the_right_to_read_activities_names_it(aws: SimulatedAWS) -> None:
    aws.errors["describe_scaling_activities"] = a_refusal("AccessDenied", "DescribeScalingActivities", 403)
    world = await a_late_raise(aws)
    verified = world.condition("Verified")
    assert (verified["status"], verified["reason"]) == ("False", "Timeout")
    assert "only 3 replicas exist" in verified["message"]
    assert "allow autoscaling:DescribeScalingActivities" in verified["message"]
    assert world.condition("Ready")["status"] == "True"


async def test_a_suspended_launch_is_the_cause_of_a_late_raise_without_a_read(aws: SimulatedAWS) -> None:
    aws.groups["web"]["SuspendedProcesses"] = [{"ProcessName": "Launch", "SuspensionReason": "by a person"}]
    world = await a_late_raise(aws)
    verified = world.condition("Verified")
    assert verified["reason"] == "ReplicasNotMade"
    assert "ReplicasNotMade: the process Launch of the group is suspended (by a person)" in verified["message"]
    assert aws.activity_reads == []


async def test_a_max_size_lowered_below_a_raise_is_not_called_overwritten(aws: SimulatedAWS) -> None:
    aws.capacity = 3
    world = GroupWorld(a_policy_of(field="DesiredCapacity"))
    await world.turn(20)
    assert aws.groups["web"]["DesiredCapacity"] == 9
    # AWS lowers the desired capacity with MaxSize.
    aws.groups["web"].update(MaxSize=5, DesiredCapacity=5)
    await world.turn(2)
    assert "Failed" not in world.phases
    paths = [path for path in world.cluster.objects if "/scalingdecisions/" in path]
    messages = [world.cluster.objects[path]["status"]["message"] for path in paths]
    assert any("maximum was lowered to 5, below the minimum 9" in message for message in messages)


async def test_a_size_lowered_below_protected_instances_says_what_remains(aws: SimulatedAWS) -> None:
    protected = {"LifecycleState": "InService", "HealthStatus": "Healthy", "ProtectedFromScaleIn": True}
    target = AutoScalingGroup(
        GroupDescriptions(AWSClients({"shop": [SHOP]}), 0.0, WAIT_SECONDS), "shop", a_group("web")
    )
    aws.groups["web"]["Instances"] = [protected] * 6
    progress = await target.progress()
    assert (progress.desired_replicas, progress.replicas) == (2, 6)
    assert "6 units remain" in (progress.excess or "")


@pytest.mark.parametrize(
    ("weights", "states", "status"),
    [
        ((3, 3, 3), ("InService",) * 3, "True"),
        ((3, 3, 3), ("InService", "InService", "Warmed:Stopped"), "Unknown"),
        ((1, 1, 1), ("InService",) * 3, "Unknown"),
    ],
)
async def test_a_raise_is_verified_in_capacity_units_without_the_warm_pool(
    aws: SimulatedAWS, weights: tuple[int, ...], states: tuple[str, ...], status: str
) -> None:
    aws.groups["web"]["Instances"] = [
        {"LifecycleState": state, "HealthStatus": "Healthy", "WeightedCapacity": str(weight)}
        for weight, state in zip(weights, states, strict=True)
    ]
    world = GroupWorld(a_policy_of())
    await world.turn(20)
    assert aws.groups["web"]["MinSize"] == 9
    assert world.condition("Verified")["status"] == status


@pytest.mark.parametrize(
    ("groups", "is_allowed"),
    [
        ({}, True),
        ({"shop": ["we*"]}, True),
        ({"shop": ["eu-west-1:web"]}, True),
        ({"*": ["eu-*:web"]}, True),
        ({"shop": ["us-east-1:web"]}, False),
        ({"shop": ["web-2"], "billing": ["web"]}, False),
        ({"shop": []}, False),
    ],
)
@pytest.mark.parametrize("role", [None, SHOP])
async def test_a_group_is_reached_only_where_the_installation_allows_it_to_the_namespace(
    aws: SimulatedAWS, groups: dict[str, list[str]], is_allowed: bool, role: str | None
) -> None:
    clients = AWSClients({"shop": [SHOP]}, NamespacePatterns(groups))
    descriptions = GroupDescriptions(clients, 0.0, WAIT_SECONDS)
    if is_allowed:
        assert (await AutoScalingGroup(descriptions, "shop", a_group("web", role_arn=role)).observe()).minimum == 2
        return
    message = r"namespace shop may not scale .*\"web\" in eu-west-1; allowed: .*PREDICTIVE_SCALING_AWS_GROUPS"
    with pytest.raises(TargetUnsupportedError, match=message):
        AutoScalingGroup(descriptions, "shop", a_group("web", role_arn=role))
    assert aws.written == []


def test_the_clients_have_the_allow_lists_of_the_settings() -> None:
    settings = read_settings({}, aws_groups={"shop": ("web",)}, aws_roles={"shop": (SHOP,)})
    databases: Any = SimpleNamespace(tick=None, background=None, schema=None)
    clients = Ports.of(settings, InMemoryCluster(), databases).aws
    assert clients.account("shop", "web", "eu-west-1", SHOP) == Account("eu-west-1", SHOP)
    for namespace, group, role in (("shop", "other", None), ("billing", "web", None), ("billing", "web", SHOP)):
        with pytest.raises(TargetUnsupportedError):
            clients.account(namespace, group, "eu-west-1", role)
