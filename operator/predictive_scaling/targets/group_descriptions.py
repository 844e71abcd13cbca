"""Descriptions of Auto Scaling groups, read in batches of 100 groups of an account and region, and writes to them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import AWSUnavailableError, PredictiveScalingError
from predictive_scaling.targets.aws_clients import Account, AWSClients, Json
from predictive_scaling.targets.group_activities import GroupActivities

BATCH_SIZE = 100
"""Maximum number of groups in one request of AWS."""
WAIT_SECONDS = 1.0
"""Time that a reconciliation waits for a batch, in real time; the batch continues without it."""
_COLLECT_SECONDS = 0.02
_MAX_STALE_SECONDS = 60.0
_FORGOTTEN_AFTER_SECONDS = 300.0


@dataclass(slots=True)
class _Reading:
    group: Json | None
    """The description; None if the group does not exist."""
    at: float
    """Monotonic second of the response."""
    as_of: float
    """Monotonic second at which the request began or our write ended: the description includes all before it."""


@dataclass(slots=True, eq=False)
class _Batch:
    names: set[str]
    deadline: float
    """Monotonic second after which nobody waits for it."""
    task: "asyncio.Task[None] | None" = None
    is_open: bool = True
    """Whether names can still be added."""
    error: PredictiveScalingError | None = None


@dataclass(slots=True)
class _Groups:
    """What is known of the groups of one account and region."""

    requested: dict[str, float] = field(default_factory=dict[str, float])
    """Monotonic second at which each group was last requested."""
    readings: dict[str, _Reading] = field(default_factory=dict[str, _Reading])
    batches: list[_Batch] = field(default_factory=list[_Batch])


@dataclass(slots=True)
class _Writes:
    """Our writes to a group. Only one at a time: a slow one would end after its successor and overwrite it."""

    in_flight: bool = False
    ended: int = 0


class GroupDescriptions:
    """The newest description of each group, shared by all policies of an operator, and the operator's writes."""

    def __init__(self, clients: AWSClients, max_age_seconds: float = 7.5, wait_seconds: float = WAIT_SECONDS) -> None:
        """max_age_seconds: real time for which a description is used again; less than the interval of the ticks."""
        self.clients = clients
        self.activities = GroupActivities(clients)
        self._max_age_seconds = max_age_seconds
        self._wait_seconds = wait_seconds
        self._accounts: dict[Account, _Groups] = {}
        self._writes: dict[tuple[str, str | None, str], _Writes] = {}

    async def describe(self, account: Account, name: str) -> Json | None:
        """Return the description of a group, at most a tick old; None if the group does not exist.

        While AWS is slow, a description of the last minute is returned. Raises as AWSClients.call, or
        AWSUnavailableError where AWS has not responded in time; the response is used when it comes.
        """
        groups, now = self._accounts.setdefault(account, _Groups()), monotonic()
        groups.requested[name] = now
        reading = groups.readings.get(name)
        if reading is not None and now - reading.at < self._max_age_seconds:
            return reading.group
        batch = self._batch(account, groups, name, now)
        if batch.task is not None:
            await asyncio.wait({batch.task}, timeout=max(0.0, batch.deadline - monotonic()))
        if batch.error is not None:
            raise batch.error
        reading = groups.readings.get(name)
        if reading is None or monotonic() - reading.at > _MAX_STALE_SECONDS:
            raise AWSUnavailableError(
                f"AWS has not responded to DescribeAutoScalingGroups of {name} in {account} within "
                f"{self._wait_seconds:g} s; the response is used as soon as it comes"
            )
        return reading.group

    async def describe_now(self, account: Account, name: str, within_seconds: float) -> Json | None:
        """Return the description of a group from a new request; None if the group does not exist.

        Raises as AWSClients.call_within.
        """
        began = monotonic()
        response = await self.clients.call_within(
            within_seconds, account, "describe_auto_scaling_groups", name, AutoScalingGroupNames=[name]
        )
        self._store(account, [name], response["AutoScalingGroups"], began)
        return self._accounts[account].readings[name].group

    async def write(
        self,
        account: Account,
        name: str,
        within_seconds: float,
        operation: str,
        written: Mapping[str, int],
        **parameters: object,
    ) -> None:
        """Change a group. written: the fields of its description that have another value then, such as MinSize.

        A write that takes longer continues; until it ends, no other write to the group begins.
        Raises AWSUnavailableError while an earlier write continues, otherwise as AWSClients.call_within.
        """
        self.check_writes(account, name)
        writes = self._writes_to(account, name)

        def ended(succeeded: bool) -> None:
            writes.in_flight, writes.ended = False, writes.ended + 1
            if succeeded:
                self._remember(account, name, written)

        writes.in_flight = True
        await self.clients.call_within(
            within_seconds, account, operation, name, ended=ended, AutoScalingGroupName=name, **parameters
        )

    def check_writes(self, account: Account, name: str, ended: int | None = None) -> None:
        """Raise AWSUnavailableError if an earlier write to a group continues.

        ended: the number of ended writes at an observation; a write that ended since may be missing in what was
        observed, which raises AWSUnavailableError too.
        """
        writes = self._writes_to(account, name)
        if writes.in_flight or (ended is not None and ended != writes.ended):
            raise AWSUnavailableError(
                f"an earlier write to {name} in {account} took too long; the group is observed again when it has ended"
            )

    def ended_writes(self, account: Account, name: str) -> int:
        """Return the number of writes to a group that have ended."""
        return self._writes_to(account, name).ended

    def _writes_to(self, account: Account, name: str) -> _Writes:
        # Another role may reach the same group.
        return self._writes.setdefault((account.region, account.number, name), _Writes())

    def _remember(self, account: Account, name: str, written: Mapping[str, int]) -> None:
        """Keep what our own write changed until the group is read again; a read that began before it is dropped."""
        reading = self._accounts.setdefault(account, _Groups()).readings.get(name)
        if reading is not None and reading.group is not None:
            reading.group, reading.as_of = {**reading.group, **written}, monotonic()

    def _batch(self, account: Account, groups: _Groups, name: str, now: float) -> _Batch:
        """Return the batch that will describe a group; a new one includes all groups that are due."""
        for batch in groups.batches:
            if batch.is_open:
                batch.names.add(name)
            if name in batch.names:
                return batch
        _forget(groups, now)
        due = {name} | {
            other
            for other in groups.requested
            if other not in groups.readings or now - groups.readings[other].at >= self._max_age_seconds
        }
        in_flight = {other for batch in groups.batches for other in batch.names}
        batch = _Batch((due - in_flight) | {name}, now + self._wait_seconds)
        groups.batches.append(batch)
        batch.task = asyncio.create_task(self._read(account, groups, batch))
        return batch

    async def _read(self, account: Account, groups: _Groups, batch: _Batch) -> None:
        """Read a batch, after the policies of the same tick had time to join it. Never raises."""
        try:
            await asyncio.sleep(_COLLECT_SECONDS)
            batch.is_open = False
            names = sorted(batch.names)
            parts = [names[start : start + BATCH_SIZE] for start in range(0, len(names), BATCH_SIZE)]
            await asyncio.gather(*(self._read_part(account, part) for part in parts))
        except PredictiveScalingError as error:
            batch.error = error
        finally:
            batch.is_open = False
            groups.batches.remove(batch)

    async def _read_part(self, account: Account, names: Sequence[str]) -> None:
        subject = names[0] if len(names) == 1 else f"{len(names)} groups"
        began = monotonic()
        response = await self.clients.call(
            account,
            "describe_auto_scaling_groups",
            subject,
            AutoScalingGroupNames=list(names),
            MaxRecords=BATCH_SIZE,
        )
        self._store(account, names, response["AutoScalingGroups"], began)

    def _store(self, account: Account, names: Iterable[str], described: Iterable[Json], began: float) -> None:
        """Keep the response of a request that began at a monotonic second, except what is known to be outdated."""
        by_name, now = {group["AutoScalingGroupName"]: group for group in described}, monotonic()
        readings = self._accounts.setdefault(account, _Groups()).readings
        for name in names:
            known = readings.get(name)
            if known is None or known.as_of <= began:
                readings[name] = _Reading(by_name.get(name), now, began)


def _forget(groups: _Groups, now: float) -> None:
    """Drop the groups that no policy has requested for a while."""
    for name in [name for name, at in groups.requested.items() if now - at > _FORGOTTEN_AFTER_SECONDS]:
        del groups.requested[name]
        groups.readings.pop(name, None)
