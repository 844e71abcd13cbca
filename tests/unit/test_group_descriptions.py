"""Descriptions of groups are read in batches, once a tick."""

import asyncio
from typing import Any

import pytest

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import AWSThrottledError, AWSUnavailableError
from predictive_scaling.targets.aws_clients import Account, AWSClients
from predictive_scaling.targets.group_descriptions import GroupDescriptions
from tests.support.virtual_time import in_virtual_time

IRELAND, OHIO = Account("eu-west-1"), Account("us-east-2")


class RecordingClients(AWSClients):
    """Responds with a description of each group whose name does not begin with `missing`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Account, int]] = []
        self.error: AWSThrottledError | None = None
        self.seconds = 0.0

    async def call(self, account: Account, operation: str, subject: str, **parameters: Any) -> dict[str, Any]:
        assert operation == "describe_auto_scaling_groups"
        names = parameters["AutoScalingGroupNames"]
        self.calls.append((account, len(names)))
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        groups = [{"AutoScalingGroupName": name, "MinSize": 2} for name in names if not name.startswith("missing")]
        return {"AutoScalingGroups": groups}


async def describe_all(groups: GroupDescriptions, account: Account, count: int) -> list[dict[str, Any] | None]:
    return await asyncio.gather(*(groups.describe(account, f"web-{number}") for number in range(count)))


@in_virtual_time
async def test_a_hundred_groups_of_a_region_are_one_call_a_tick() -> None:
    clients = RecordingClients()
    groups = GroupDescriptions(clients, max_age_seconds=0.2)
    assert all(await describe_all(groups, IRELAND, 100))
    await describe_all(groups, IRELAND, 100)
    assert clients.calls == [(IRELAND, 100)]
    await asyncio.sleep(0.25)
    await describe_all(groups, IRELAND, 100)
    assert clients.calls == [(IRELAND, 100), (IRELAND, 100)]


@in_virtual_time
async def test_more_groups_than_fit_a_request_are_split() -> None:
    clients = RecordingClients()
    await describe_all(GroupDescriptions(clients), IRELAND, 250)
    assert [count for _, count in clients.calls] == [100, 100, 50]


@in_virtual_time
async def test_after_the_first_tick_a_policy_that_comes_first_reads_for_all() -> None:
    clients = RecordingClients()
    groups = GroupDescriptions(clients, max_age_seconds=0.1)
    for number in range(40):
        await groups.describe(IRELAND, f"web-{number}") if number < 2 else None
    await describe_all(groups, IRELAND, 40)
    clients.calls.clear()
    await asyncio.sleep(0.15)
    await groups.describe(IRELAND, "web-0")
    await describe_all(groups, IRELAND, 40)
    assert clients.calls == [(IRELAND, 40)]


@in_virtual_time
async def test_each_region_is_read_by_itself() -> None:
    clients = RecordingClients()
    groups = GroupDescriptions(clients)
    await asyncio.gather(describe_all(groups, IRELAND, 3), describe_all(groups, OHIO, 2))
    assert sorted(clients.calls, key=str) == [(IRELAND, 3), (OHIO, 2)]


@in_virtual_time
async def test_a_missing_group_does_not_affect_the_others() -> None:
    groups = GroupDescriptions(RecordingClients())
    missing, present = await asyncio.gather(groups.describe(IRELAND, "missing"), groups.describe(IRELAND, "web"))
    assert missing is None
    assert present is not None


@in_virtual_time
async def test_all_policies_of_a_slow_region_wait_once() -> None:
    clients = RecordingClients()
    clients.seconds = 1.0
    groups = GroupDescriptions(clients, wait_seconds=0.1)
    started = monotonic()
    for number in range(20):
        with pytest.raises(AWSUnavailableError):
            await groups.describe(IRELAND, f"web-{number % 2}")
    # One wait for each of the two groups: the first batch had been sent when the second group was requested.
    assert monotonic() - started == pytest.approx(0.2)


@in_virtual_time
async def test_a_slow_region_is_served_from_the_last_minute() -> None:
    clients = RecordingClients()
    groups = GroupDescriptions(clients, max_age_seconds=0.05, wait_seconds=0.1)
    await groups.describe(IRELAND, "web")
    clients.seconds = 1.0
    await asyncio.sleep(0.1)
    assert await groups.describe(IRELAND, "web") is not None


@in_virtual_time
async def test_a_failed_batch_fails_each_of_its_groups() -> None:
    clients = RecordingClients()
    clients.error = AWSThrottledError("AWS throttled the account")
    results = await asyncio.gather(
        *(GroupDescriptions(clients).describe(IRELAND, name) for name in ("a", "b")), return_exceptions=True
    )
    assert [type(result) for result in results] == [AWSThrottledError, AWSThrottledError]
