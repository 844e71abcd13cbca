"""Descriptions of Auto Scaling groups, read in batches: one call per 100 groups of an account and region."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import AWSUnavailableError, PredictiveScalingError
from predictive_scaling.targets.aws_clients import Account, AWSClients, Json

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


class GroupDescriptions:
    """The newest description of each group, shared by all policies of an operator."""

    def __init__(self, clients: AWSClients, max_age_seconds: float = 7.5, wait_seconds: float = WAIT_SECONDS) -> None:
        """max_age_seconds: real time for which a description is used again; less than the interval of the ticks."""
        self.clients = clients
        self._max_age_seconds = max_age_seconds
        self._wait_seconds = wait_seconds
        self._accounts: dict[Account, _Groups] = {}

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
        response = await self.clients.call_within(
            within_seconds, account, "describe_auto_scaling_groups", name, AutoScalingGroupNames=[name]
        )
        self._store(account, [name], response["AutoScalingGroups"])
        return self._accounts[account].readings[name].group

    def remember(self, account: Account, name: str, **written: int) -> None:
        """Keep what our own write changed, such as MinSize, until the group is read again."""
        reading = self._accounts.setdefault(account, _Groups()).readings.get(name)
        if reading is not None and reading.group is not None:
            reading.group = {**reading.group, **written}

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
        response = await self.clients.call(
            account,
            "describe_auto_scaling_groups",
            subject,
            AutoScalingGroupNames=list(names),
            MaxRecords=BATCH_SIZE,
        )
        self._store(account, names, response["AutoScalingGroups"])

    def _store(self, account: Account, names: Iterable[str], described: Iterable[Json]) -> None:
        by_name, now = {group["AutoScalingGroupName"]: group for group in described}, monotonic()
        readings = self._accounts.setdefault(account, _Groups()).readings
        for name in names:
            readings[name] = _Reading(by_name.get(name), now)


def _forget(groups: _Groups, now: float) -> None:
    """Drop the groups that no policy has requested for a while."""
    for name in [name for name, at in groups.requested.items() if now - at > _FORGOTTEN_AFTER_SECONDS]:
        del groups.requested[name]
        groups.readings.pop(name, None)
