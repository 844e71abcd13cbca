"""The contract of the target port for Auto Scaling groups, and what AWS adds to it, against moto's HTTP server."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.errors import (
    AWSAccessDeniedError,
    AWSBusyError,
    AWSThrottledError,
    AWSUnavailableError,
    TargetConflictError,
    TargetNotFoundError,
    TargetRefusedError,
    TargetUnsupportedError,
)
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.vocabulary import FailureCause, GroupField
from predictive_scaling.targets import aws_clients
from predictive_scaling.targets.auto_scaling_group import OTHER_CLIENT, AutoScalingGroup
from predictive_scaling.targets.auto_scaling_group_record import AutoScalingGroupRecord
from predictive_scaling.targets.aws_clients import AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from predictive_scaling.targets.port import Explanation
from tests.contract.test_targets import TargetContract, TargetUnderTest
from tests.support.aws_faults import Fault, FaultyAWS, activities_response, faulty_aws
from tests.support.eventually import eventually
from tests.support.groups import WAIT_SECONDS, GroupAdministrator, a_group
from tests.support.simulated_aws import an_activity

pytestmark = pytest.mark.integration

ROLE = "arn:aws:iam::123456789012:role/scaler"


class GroupUnderTest:
    """A group whose minimum another client of AWS set."""

    def __init__(self, administrator: GroupAdministrator, name: str, field: GroupField) -> None:
        # Without a cache the changes of other clients are observed at once.
        self.target = AutoScalingGroup(
            GroupDescriptions(AWSClients(), 0.0, WAIT_SECONDS), "shop", a_group(name, field=field)
        )
        self._administrator = administrator
        self._name = name
        self._field = field

    async def foreign_write(self, minimum: int) -> None:
        if self._field is GroupField.DESIRED_CAPACITY:
            await self._administrator.update(self._name, MinSize=min(minimum, 2), DesiredCapacity=minimum)
        else:
            await self._administrator.update(self._name, MinSize=minimum)

    async def delete(self) -> None:
        await self._administrator.delete(self._name)


class GroupContract(TargetContract):
    """The contract where the API has no field managers."""

    async def test_a_first_write_without_take_is_a_conflict_that_names_the_manager(
        self, subject: TargetUnderTest
    ) -> None:
        with pytest.raises(TargetConflictError, match=OTHER_CLIENT):
            await subject.target.apply(5)

    async def test_a_floor_above_the_maximum_of_the_target_is_refused(self, subject: TargetUnderTest) -> None:
        with pytest.raises(TargetRefusedError, match="MaxSize 40"):
            await subject.target.apply(41, take=True)
        assert (await subject.target.observe()).minimum == 2


class TestMinSize(GroupContract):
    @pytest.fixture
    async def subject(self, administrator: GroupAdministrator, group: str) -> TargetUnderTest:
        return GroupUnderTest(administrator, group, GroupField.MIN_SIZE)


class TestDesiredCapacity(GroupContract):
    @pytest.fixture
    async def subject(self, administrator: GroupAdministrator, group: str) -> TargetUnderTest:
        return GroupUnderTest(administrator, group, GroupField.DESIRED_CAPACITY)


@pytest.fixture
def administrator(aws_endpoint: str) -> GroupAdministrator:
    return GroupAdministrator(aws_endpoint)


@pytest.fixture
async def group(administrator: GroupAdministrator) -> str:
    """The name of a new group with MinSize 2 and MaxSize 40."""
    name = f"web-{uuid.uuid4().hex[:8]}"
    await administrator.create(name)
    return name


@pytest.fixture
async def faults(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[FaultyAWS]:
    """The proxy that boto3 of this process uses."""
    async with faulty_aws(aws_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


def a_target(
    name: str, *, wait_seconds: float = WAIT_SECONDS, max_age_seconds: float = 0.0, **group: Any
) -> AutoScalingGroup:
    groups = GroupDescriptions(AWSClients({"shop": [ROLE]}), max_age_seconds, wait_seconds)
    return AutoScalingGroup(groups, "shop", a_group(name, **group))


def a_takeover(uid: str) -> Takeover:
    return Takeover(target_uid=uid, original_minimum=2, since=datetime(2026, 11, 27, tzinfo=UTC))


class TestRecordOfWrites:
    """AWS does not record who wrote a value: it is compared with the take-over record."""

    async def test_a_write_is_ours_after_a_restart(self, group: str) -> None:
        first = a_target(group)
        takeover = first.recorded(a_takeover((await first.observe()).uid), 5)
        await first.apply(5, take=True)
        second = a_target(group)
        second.recall(takeover)
        assert (await second.observe()).floor_managers == (FIELD_MANAGER,)
        await second.restore(2)
        assert (await a_target(group).observe()).minimum == 2

    async def test_a_write_that_was_recorded_but_not_made_is_no_conflict(self, group: str) -> None:
        first = a_target(group)
        takeover = first.recorded(a_takeover((await first.observe()).uid), 5)
        second = a_target(group)
        second.recall(takeover)
        observed = await second.observe()
        assert (observed.minimum, observed.floor_managers) == (2, (FIELD_MANAGER,))
        assert (await second.apply(5)).changed

    async def test_a_recreated_group_was_not_written(self, administrator: GroupAdministrator, group: str) -> None:
        first = a_target(group)
        takeover = first.recorded(a_takeover((await first.observe()).uid), 5)
        await administrator.delete(group)
        await administrator.create(group, minimum=5)
        second = a_target(group)
        second.recall(takeover)
        observed = await second.observe()
        assert observed.uid != takeover.target_uid
        assert observed.floor_managers == (OTHER_CLIENT,)

    async def test_a_group_recreated_since_the_observation_is_not_written(
        self, administrator: GroupAdministrator, group: str
    ) -> None:
        target = a_target(group)
        await target.observe()
        await administrator.delete(group)
        await administrator.create(group, minimum=3)
        with pytest.raises(TargetNotFoundError, match="created again"):
            await target.apply(5, take=True)


class TestSizes:
    async def test_a_higher_min_size_raises_the_desired_capacity(
        self, administrator: GroupAdministrator, group: str
    ) -> None:
        target = a_target(group)
        await target.observe()
        await target.apply(6, take=True)
        progress = await target.progress()
        assert (progress.floor, progress.desired_replicas, progress.ready_replicas) == (6, 6, 6)
        assert (await administrator.describe(group))["MaxSize"] == 40

    async def test_a_raise_never_lowers_the_desired_capacity(
        self, administrator: GroupAdministrator, group: str
    ) -> None:
        target = a_target(group, field=GroupField.DESIRED_CAPACITY)
        await target.observe()
        await target.apply(4, take=True)
        await administrator.update(group, DesiredCapacity=9)
        observed = await target.observe()
        assert (observed.minimum, observed.current_replicas) == (4, 9)
        assert not (await target.apply(6)).changed
        assert (await administrator.describe(group))["DesiredCapacity"] == 9

    async def test_a_desired_capacity_above_our_floor_is_left_to_the_groups_own_policies(
        self, administrator: GroupAdministrator, group: str
    ) -> None:
        target = a_target(group, field=GroupField.DESIRED_CAPACITY)
        await target.observe()
        await target.apply(6, take=True)
        await administrator.update(group, DesiredCapacity=9)
        assert not (await target.apply(3)).changed
        await target.restore(2)
        assert (await administrator.describe(group))["DesiredCapacity"] == 9

    async def test_a_suspended_launch_is_the_reason_that_capacity_does_not_follow(
        self, administrator: GroupAdministrator, group: str
    ) -> None:
        await administrator.call("suspend_processes", AutoScalingGroupName=group, ScalingProcesses=["Launch"])
        # moto launches instances nevertheless: the description is that of a group which could not.
        description = await administrator.describe(group) | {"DesiredCapacity": 5}
        record = AutoScalingGroupRecord.parse(description)
        assert (record.ready, record.desired) == (2, 5)
        assert record.explanation is not None
        assert "process Launch of the group is suspended" in record.explanation.details


class TestFaults:
    async def test_throttled_calls_are_repeated(self, faults: FaultyAWS, group: str) -> None:
        faults.fail(Fault("Throttling", message="Rate exceeded"), times=2)
        assert (await a_target(group).observe()).minimum == 2
        assert faults.count("DescribeAutoScalingGroups") == 3

    async def test_lasting_throttling_is_reported_and_pauses_the_account(
        self, faults: FaultyAWS, group: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aws_clients, "_FIRST_PAUSE_SECONDS", 300.0)
        faults.fail(Fault("Throttling", message="Rate exceeded"))
        target = a_target(group)
        for _ in range(20):
            with pytest.raises(AWSThrottledError, match=r"throttled DescribeAutoScalingGroups of (web-|groups)"):
                await target.observe()
        assert faults.count("DescribeAutoScalingGroups") == 3

    async def test_expired_credentials_are_renewed_once(self, faults: FaultyAWS, group: str) -> None:
        target = a_target(group, role_arn=ROLE)
        await target.observe()
        faults.fail(Fault("ExpiredToken", 403, "The security token included in the request is expired"), times=1)
        assert (await target.observe()).minimum == 2
        assert faults.count("AssumeRole") == 2

    async def test_credentials_that_stay_expired_are_reported(self, faults: FaultyAWS, group: str) -> None:
        target = a_target(group, role_arn=ROLE)
        await target.observe()
        faults.fail(Fault("ExpiredToken", 403), action="UpdateAutoScalingGroup")
        with pytest.raises(AWSAccessDeniedError, match="could not be renewed"):
            await target.apply(5, take=True)
        assert faults.count("UpdateAutoScalingGroup") == 2

    async def test_missing_permissions_name_the_action(self, faults: FaultyAWS, group: str) -> None:
        target = a_target(group)
        await target.observe()
        faults.fail(Fault("AccessDenied", 403, "User is not authorized"), action="UpdateAutoScalingGroup")
        with pytest.raises(AWSAccessDeniedError, match="allow autoscaling:UpdateAutoScalingGroup"):
            await target.apply(5, take=True)

    async def test_credentials_that_appear_later_are_used_without_a_restart(
        self, faults: FaultyAWS, group: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aws_clients, "_FIRST_PAUSE_SECONDS", 0.0)
        target = a_target(group)
        with monkeypatch.context() as without:
            without.delenv("AWS_ACCESS_KEY_ID")
            without.delenv("AWS_SECRET_ACCESS_KEY")
            without.setenv("AWS_EC2_METADATA_DISABLED", "true")
            without.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
            with pytest.raises(AWSAccessDeniedError, match="the operator has no AWS credentials"):
                await target.observe()
        assert (await target.observe()).minimum == 2
        assert faults.count("DescribeAutoScalingGroups") == 1

    async def test_a_refused_role_names_the_action(self, faults: FaultyAWS, group: str) -> None:
        faults.fail(Fault("AccessDenied", 403, "not authorized to perform"), action="AssumeRole")
        with pytest.raises(AWSAccessDeniedError, match="allow sts:AssumeRole"):
            await a_target(group, role_arn=ROLE).observe()

    async def test_a_slow_response_does_not_hold_up_the_tick_and_is_used_later(
        self, faults: FaultyAWS, group: str
    ) -> None:
        faults.hold()
        target = a_target(group, wait_seconds=0.2, max_age_seconds=60.0)
        with pytest.raises(AWSUnavailableError, match=r"within 0\.2 s"):
            await target.observe()

        async def observed() -> bool:
            try:
                return (await target.observe()).minimum == 2
            except AWSUnavailableError:
                return False

        faults.heal()
        await eventually(observed)
        assert faults.count("DescribeAutoScalingGroups") == 1

    async def test_a_closed_connection_is_retried_then_reported(self, faults: FaultyAWS, group: str) -> None:
        faults.fail(Fault(None), times=1)
        target = a_target(group)
        assert (await target.observe()).minimum == 2
        faults.fail(Fault(None))
        with pytest.raises(AWSUnavailableError, match="check the region and the operator's network"):
            await target.observe()

    async def test_a_group_in_its_cooldown_is_tried_again(self, faults: FaultyAWS, group: str) -> None:
        target = a_target(group, field=GroupField.DESIRED_CAPACITY)
        await target.observe()
        await target.apply(5, take=True)
        faults.fail(Fault("ScalingActivityInProgress", message="blocks this action"), action="SetDesiredCapacity")
        with pytest.raises(AWSBusyError, match="cooldown"):
            await target.apply(4)
        faults.heal()
        assert (await target.apply(4)).changed

    async def test_a_failure_of_one_account_does_not_affect_another(self, faults: FaultyAWS, group: str) -> None:
        clients = AWSClients({"shop": [ROLE]})
        groups = GroupDescriptions(clients, 0.0, WAIT_SECONDS)
        faults.fail(Fault("AccessDenied", 403), action="AssumeRole")
        with pytest.raises(AWSAccessDeniedError):
            await AutoScalingGroup(groups, "shop", a_group(group, role_arn=ROLE)).observe()
        assert (await AutoScalingGroup(groups, "shop", a_group(group)).observe()).minimum == 2


class TestActivities:
    """Why a raise is late; moto has no activities, so the proxy returns them."""

    async def test_a_failed_launch_is_the_cause_in_the_words_of_aws(self, faults: FaultyAWS, group: str) -> None:
        message = "You have requested more vCPU capacity than your current vCPU limit of 32 allows for it."
        faults.answers["DescribeScalingActivities"] = activities_response(
            an_activity(message), an_activity("an earlier failure", ago_seconds=600)
        )
        explanation = await explained(a_target(group))
        assert (explanation.cause, message[:60] in explanation.details) == (FailureCause.QUOTA, True)

    async def test_a_denied_read_names_the_action_and_leaves_the_account_usable(
        self, faults: FaultyAWS, group: str
    ) -> None:
        faults.fail(Fault("AccessDenied", 403, "is not authorized"), action="DescribeScalingActivities")
        target = a_target(group)
        explanation = await explained(target)
        assert explanation.cause is None
        assert "allow autoscaling:DescribeScalingActivities" in explanation.details
        assert (await target.observe()).minimum == 2


async def explained(target: AutoScalingGroup) -> Explanation:
    progress = replace(await target.progress(), desired_replicas=9)

    async def is_read() -> bool:
        return not target.explain_delay(progress, 60.0).is_pending

    await eventually(is_read)
    return target.explain_delay(progress, 60.0)


class TestPlaces:
    async def test_a_group_of_another_region_is_not_found_with_the_remedy(self, group: str) -> None:
        with pytest.raises(TargetNotFoundError, match=r"in us-east-1 does not exist.*correct name, region and roleArn"):
            await a_target(group, region="us-east-1").observe()

    async def test_a_role_is_assumed_where_the_installation_allows_it(self, group: str) -> None:
        assert (await a_target(group, role_arn=ROLE).observe()).minimum == 2

    def test_a_role_of_another_namespace_is_not_assumed(self) -> None:
        groups = GroupDescriptions(AWSClients({"billing": [ROLE]}))
        with pytest.raises(
            TargetUnsupportedError, match=r"namespace shop may not assume .*PREDICTIVE_SCALING_AWS_ROLES"
        ):
            AutoScalingGroup(groups, "shop", a_group("web", role_arn=ROLE))

    def test_a_role_of_all_namespaces_is_accepted(self) -> None:
        groups = GroupDescriptions(AWSClients({"*": [ROLE]}))
        assert AutoScalingGroup(groups, "shop", a_group("web", role_arn=ROLE))


class TestBatches:
    async def test_the_groups_of_a_region_are_read_a_hundred_at_a_time(
        self, faults: FaultyAWS, administrator: GroupAdministrator
    ) -> None:
        prefix = f"fleet-{uuid.uuid4().hex[:8]}"
        names = [f"{prefix}-{number}" for number in range(120)]
        for name in names:
            await administrator.create(name, minimum=0)
        groups = GroupDescriptions(AWSClients(), 60.0, 30.0)
        targets = [AutoScalingGroup(groups, "shop", a_group(name)) for name in names]
        observed = await asyncio.gather(*(target.observe() for target in targets))
        assert {group.maximum for group in observed} == {40}
        await asyncio.gather(*(target.progress() for target in targets))
        assert faults.count("DescribeAutoScalingGroups") == 2
