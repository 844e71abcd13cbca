"""Writes to Auto Scaling groups that take long, and failures that concern one group only."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.errors import AWSAccessDeniedError, AWSThrottledError, AWSUnavailableError
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.vocabulary import GroupField
from predictive_scaling.targets import auto_scaling_group, aws_clients
from predictive_scaling.targets.auto_scaling_group import AutoScalingGroup
from predictive_scaling.targets.aws_clients import Account, AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from tests.support.eventually import eventually
from tests.support.groups import WAIT_SECONDS, a_group
from tests.support.simulated_aws import SimulatedAWS, a_refusal, use_simulated_aws

pytestmark = pytest.mark.usefixtures("logs")

IRELAND = Account("eu-west-1")
UPDATE, DESCRIBE, SET_DESIRED = "update_auto_scaling_group", "describe_auto_scaling_groups", "set_desired_capacity"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> SimulatedAWS:
    return use_simulated_aws(monkeypatch)


@pytest.fixture
def hold_writes(aws: SimulatedAWS, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on writes wait, and the operator waits for them briefly."""

    def hold() -> None:
        monkeypatch.setattr(auto_scaling_group, "_WRITE_SECONDS", 0.2)
        aws.hold(UPDATE)

    return hold


class Policy:
    """What the control loop does with a group: it observes, records and writes, and recalls its record."""

    def __init__(self, groups: GroupDescriptions, field: GroupField = GroupField.MIN_SIZE) -> None:
        self.groups = groups
        self.field = field
        self.takeover: Takeover | None = None

    def target(self) -> AutoScalingGroup:
        target = AutoScalingGroup(self.groups, "shop", a_group("web", field=self.field))
        if self.takeover is not None:
            target.recall(self.takeover)
        return target

    async def observed(self) -> tuple[int, bool]:
        """The minimum, and whether it is ours."""
        observed = await self.target().observe()
        return observed.minimum, observed.floor_managers == (FIELD_MANAGER,)

    async def write(self, floor: int) -> None:
        target = self.target()
        observed = await target.observe()
        is_first = self.takeover is None
        takeover = self.takeover or Takeover(
            target_uid=observed.uid, original_minimum=observed.minimum, since=datetime(2026, 11, 27, tzinfo=UTC)
        )
        self.takeover = target.recorded(takeover, floor)
        await target.apply(floor, take=is_first)

    async def write_when_possible(self, floor: int) -> None:
        """Write as the ticks do: again and again while AWS does not allow it."""

        async def is_written() -> bool:
            try:
                await self.write(floor)
            except AWSUnavailableError:
                return False
            return True

        await eventually(is_written)


def groups_of(*, max_age_seconds: float = 0.0) -> GroupDescriptions:
    return GroupDescriptions(AWSClients(), max_age_seconds, WAIT_SECONDS)


async def test_a_late_write_does_not_overwrite_its_successor(
    aws: SimulatedAWS, hold_writes: Callable[[], None]
) -> None:
    policy = Policy(groups_of())
    hold_writes()
    with pytest.raises(AWSUnavailableError, match=r"did not respond to update_auto_scaling_group of web"):
        await policy.write(9)
    recorded = policy.takeover
    with pytest.raises(AWSUnavailableError, match="an earlier write to web"):
        await policy.write(10)
    assert policy.takeover == recorded, "what a late write may still change is no base for another record"
    aws.release(UPDATE)
    await policy.write_when_possible(10)
    assert [parameters["MinSize"] for _, parameters in aws.written] == [9, 10]
    assert await policy.observed() == (10, True)


async def test_a_write_that_ends_after_the_observation_is_observed_first(
    aws: SimulatedAWS, hold_writes: Callable[[], None]
) -> None:
    policy = Policy(groups_of())
    hold_writes()
    with pytest.raises(AWSUnavailableError):
        await policy.write(9)
    target = policy.target()
    assert (await target.observe()).minimum == 2
    aws.release(UPDATE)
    await eventually(lambda: has_ended(policy.groups))
    assert policy.takeover is not None
    with pytest.raises(AWSUnavailableError, match="observed again"):
        target.recorded(policy.takeover, 10)
    assert await policy.observed() == (9, True)


async def has_ended(groups: GroupDescriptions) -> bool:
    return groups.ended_writes(IRELAND, "web") > 0


async def test_a_restoration_waits_for_a_late_write(aws: SimulatedAWS, hold_writes: Callable[[], None]) -> None:
    policy = Policy(groups_of())
    await policy.write(5)
    hold_writes()
    with pytest.raises(AWSUnavailableError):
        await policy.write(9)
    with pytest.raises(AWSUnavailableError, match="an earlier write to web"):
        await policy.target().restore(2)
    aws.release(UPDATE)
    await eventually(lambda: is_restored(policy, 2))
    assert aws.groups["web"]["MinSize"] == 2


async def is_restored(policy: Policy, floor: int) -> bool:
    try:
        await policy.target().restore(floor)
    except AWSUnavailableError:
        return False
    return True


async def test_a_write_of_another_role_waits_for_a_late_write_to_the_same_group(aws: SimulatedAWS) -> None:
    first, second = (f"arn:aws:iam::123456789012:role/{name}" for name in ("first", "second"))
    groups = groups_of()
    aws.hold(UPDATE)
    with pytest.raises(AWSUnavailableError):
        await groups.write(Account("eu-west-1", first), "web", 0.1, UPDATE, {"MinSize": 9}, MinSize=9)
    with pytest.raises(AWSUnavailableError, match="an earlier write"):
        groups.check_writes(Account("eu-west-1", second), "web")
    groups.check_writes(Account("eu-west-1", "arn:aws:iam::999999999999:role/other"), "web")
    aws.release(UPDATE)


async def test_our_own_write_is_remembered_until_the_group_is_read_again(aws: SimulatedAWS) -> None:
    groups = groups_of(max_age_seconds=60.0)
    await groups.describe(IRELAND, "web")
    await groups.write(IRELAND, "web", 5.0, UPDATE, {"MinSize": 7}, MinSize=7)
    aws.groups["web"]["MinSize"] = 3
    description = await groups.describe(IRELAND, "web")
    assert description is not None
    assert description["MinSize"] == 7


async def test_a_slow_read_does_not_hide_a_later_write(aws: SimulatedAWS) -> None:
    policy = Policy(groups_of(max_age_seconds=60.0))
    await policy.write(5)
    aws.hold(DESCRIBE)
    slow = asyncio.create_task(policy.groups.describe_now(IRELAND, "web", 5.0))
    await aws.wait_for_calls(DESCRIBE)
    await policy.groups.write(IRELAND, "web", 5.0, UPDATE, {"MinSize": 9}, MinSize=9)
    aws.release(DESCRIBE)
    description = await slow
    assert description is not None
    assert description["MinSize"] == 9


@pytest.mark.parametrize("code", ["AccessDenied", "UnauthorizedOperation"])
async def test_a_denied_write_pauses_no_other_group(aws: SimulatedAWS, code: str) -> None:
    clients = AWSClients()
    aws.error = a_refusal(code, "UpdateAutoScalingGroup", 403)
    with pytest.raises(AWSAccessDeniedError, match="UpdateAutoScalingGroup of web"):
        await clients.call(IRELAND, UPDATE, "web", AutoScalingGroupName="web", MinSize=3)
    aws.error = None
    await clients.call(IRELAND, DESCRIBE, "web", AutoScalingGroupNames=["web"])


@pytest.mark.parametrize(
    ("code", "operation", "action"),
    [
        ("AccessDenied", DESCRIBE, "DescribeAutoScalingGroups"),
        ("AccessDenied", UPDATE, "AssumeRole"),
        ("InvalidClientTokenId", UPDATE, "UpdateAutoScalingGroup"),
        ("Throttling", UPDATE, "UpdateAutoScalingGroup"),
    ],
)
async def test_a_failure_of_the_account_pauses_it_and_names_no_group_of_another_namespace(
    aws: SimulatedAWS, monkeypatch: pytest.MonkeyPatch, code: str, operation: str, action: str
) -> None:
    monkeypatch.setattr(aws_clients, "_FIRST_PAUSE_SECONDS", 60.0)
    clients = AWSClients()
    aws.error = a_refusal(code, action, 403)
    secret = {"AutoScalingGroupNames": ["web"]} if operation == DESCRIBE else {"AutoScalingGroupName": "web"}
    with pytest.raises((AWSAccessDeniedError, AWSThrottledError), match="web"):
        await clients.call(IRELAND, operation, "web", **secret, **({} if operation == DESCRIBE else {"MinSize": 3}))
    aws.error = None
    with pytest.raises((AWSAccessDeniedError, AWSThrottledError)) as paused:
        await clients.call(IRELAND, DESCRIBE, "search", AutoScalingGroupNames=["search"])
    assert "of groups in eu-west-1" in str(paused.value)
    assert "web" not in str(paused.value).replace("docs/", "")


async def test_a_write_that_waits_in_our_own_queue_is_not_made_late(aws: SimulatedAWS) -> None:
    clients = AWSClients()
    aws.hold(DESCRIBE)
    earlier = [
        asyncio.create_task(clients.call(IRELAND, DESCRIBE, "web", AutoScalingGroupNames=["web"])) for _ in range(4)
    ]
    await aws.wait_for_calls(DESCRIBE, 4)
    ended: list[bool] = []
    with pytest.raises(AWSUnavailableError, match=r"was not sent: it waited 0\.1 s for earlier calls"):
        await clients.call_within(
            0.1, IRELAND, UPDATE, "web", ended=ended.append, AutoScalingGroupName="web", MinSize=9
        )
    aws.release(DESCRIBE)
    await asyncio.gather(*earlier)
    # No pause began: AWS was not slow.
    await clients.call(IRELAND, DESCRIBE, "web", AutoScalingGroupNames=["web"])
    assert aws.written == []
    assert ended == [False]


async def test_a_restoration_does_not_wait_for_the_cooldown(aws: SimulatedAWS) -> None:
    policy = Policy(groups_of(), GroupField.DESIRED_CAPACITY)
    for floor in (9, 6):
        await policy.write(floor)
    await policy.target().restore(2)
    honored = [(parameters["DesiredCapacity"], parameters["HonorCooldown"]) for _, parameters in aws.written]
    assert honored == [(9, False), (6, True), (2, False)]
