"""Scaling activities of Auto Scaling groups, read in the background for late raises, and what they explain."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import structlog

from predictive_scaling.clock import WallClock, monotonic
from predictive_scaling.errors import AWSAccessDeniedError, RequestFailedError
from predictive_scaling.resources.vocabulary import FailureCause
from predictive_scaling.targets.aws_clients import Account, AWSClients, Json
from predictive_scaling.targets.aws_errors import ACTIVITIES
from predictive_scaling.targets.port import Explanation

log = structlog.get_logger(__name__)

MAX_ACTIVITIES: Final = 50
"""Newest activities of a group that are read, in one request. A request for all groups of an account may time out."""
_MAX_AGE_SECONDS = 30.0
_CLOCK_TOLERANCE = timedelta(seconds=2)
"""The clock of AWS is read from a response in full seconds."""
_MAX_SENTENCE = 300

_QUOTA = re.compile(
    r"VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded|vCPU (?:capacity )?limit|instance limit|"
    r"max spot instance count exceeded",
    re.IGNORECASE,
)
_CAPACITY = re.compile(
    r"Insufficient(?:Instance|Host|ReservedInstance)?Capacity|UnfulfillableCapacity|"
    r"not have (?:sufficient|enough) [\w.\- ]*capacity|no Spot capacity|insufficient capacity",
    re.IGNORECASE,
)
_HEALTH_CHECK = re.compile(r"in response to (?:an?|the) [\w\- ]*health[- ]?check", re.IGNORECASE)
_CAUSE_PREFIX = re.compile(r"^At \S+ ")
_FAILED_SUFFIX = re.compile(r"\s*Launching EC2 instance failed\.?\s*$")
_PRECEDENCE = (FailureCause.QUOTA, FailureCause.INSUFFICIENT_CAPACITY, FailureCause.REPLICAS_NOT_MADE)


@dataclass(frozen=True, slots=True)
class _Reading:
    """How a read ended."""

    at: float
    """Monotonic second of the response."""
    activities: Sequence[Json] = ()
    """Newest first."""
    aws_time: datetime | None = None
    """The time of AWS at the response; None if the read failed."""
    problem: str = ""
    is_temporary: bool = False


@dataclass(slots=True)
class GroupActivities:
    """The activities of the groups with late raises, one request at a time for each account and region."""

    clients: AWSClients
    _readings: dict[tuple[Account, str], _Reading] = field(default_factory=dict[tuple[Account, str], _Reading])
    _reads: dict[tuple[Account, str], "asyncio.Task[None]"] = field(
        default_factory=dict[tuple[Account, str], "asyncio.Task[None]"]
    )
    _slots: dict[Account, asyncio.Semaphore] = field(default_factory=dict[Account, asyncio.Semaphore])
    _denied: set[Account] = field(default_factory=set[Account])

    def explain(self, account: Account, name: str, waited_seconds: float, *, lacks_instances: bool) -> Explanation:
        """Return why a group has too little ready capacity, from its activities of the last seconds.

        lacks_instances: whether fewer units exist than AWS should launch. Never waits and never raises: while the
        activities are read, the explanation is pending.
        """
        now, key = monotonic(), (account, name)
        for old in [other for other, reading in self._readings.items() if now - reading.at > _MAX_AGE_SECONDS]:
            del self._readings[old]
        reading = self._readings.get(key)
        if reading is None:
            if key not in self._reads:
                self._reads[key] = asyncio.create_task(self._read(account, name))
            return Explanation(None, "AWS has not returned the scaling activities of the group yet", is_pending=True)
        if reading.aws_time is None:
            return Explanation(None, reading.problem, is_pending=reading.is_temporary)
        since = reading.aws_time + timedelta(seconds=now - reading.at - waited_seconds) - _CLOCK_TOLERANCE
        recent = [activity for activity in reading.activities if _began(activity) >= since]
        return explain_activities(recent, lacks_instances=lacks_instances)

    async def _read(self, account: Account, name: str) -> None:
        """Read the activities of a group. Never raises."""
        try:
            async with self._slots.setdefault(account, asyncio.Semaphore(1)):
                response = await self.clients.call(
                    account, ACTIVITIES, name, AutoScalingGroupName=name, MaxRecords=MAX_ACTIVITIES
                )
            reading = _Reading(monotonic(), response["Activities"], _time_of(response))
            self._denied.discard(account)
        except Exception as error:
            reading = self._failed(account, error)
        finally:
            self._reads.pop((account, name), None)
        self._readings[account, name] = reading

    def _failed(self, account: Account, error: Exception) -> _Reading:
        is_denied = isinstance(error, AWSAccessDeniedError)
        if not is_denied:
            log.info("group_activities_not_read", account=str(account), error=str(error))
        elif account not in self._denied:  # reported once, until a read succeeds
            self._denied.add(account)
            log.warning("group_activities_denied", account=str(account), error=str(error))
        problem = f"the scaling activities of the group could not be read: {error}"
        is_temporary = isinstance(error, RequestFailedError) and not is_denied
        return _Reading(monotonic(), problem=problem, is_temporary=is_temporary)


def explain_activities(activities: Sequence[Json], *, lacks_instances: bool) -> Explanation:
    """Return what the activities since a raise explain, newest first; the cause is None if they explain nothing.

    Failed launches count while instances are missing, or if no later launch succeeded.
    """
    launches = [activity for activity in activities if _is_ended_launch(activity)]
    failures = [_status_message(activity) for activity in launches if not _is_successful(activity)]
    if failures and (lacks_instances or not _is_successful(launches[0])):
        return _of_launches(failures)
    replacements = list(_health_replacements(activities))
    if replacements:
        count = f"{len(replacements)} instance{'s' if len(replacements) > 1 else ''}"
        details = f"AWS replaced {count} since: {_shortened(_CAUSE_PREFIX.sub('', replacements[0]))}"
        return Explanation(FailureCause.PROBE_FAILING, details)
    return Explanation(None)


def _of_launches(messages: Sequence[str]) -> Explanation:
    """The most frequent cause of failed launches, with the newest message of AWS about it."""
    causes = [_cause_of(message) for message in messages]
    counts = Counter(causes)
    cause = max(_PRECEDENCE, key=lambda candidate: (counts[candidate], -_PRECEDENCE.index(candidate)))
    message = messages[causes.index(cause)]
    times = "once" if counts[cause] == 1 else f"{counts[cause]} times"
    return Explanation(cause, f"AWS failed {times} to launch instances: {_shortened(message)}")


def _cause_of(message: str) -> FailureCause:
    """The cause of a failed launch: launch templates, images, keys, subnets and all else are ReplicasNotMade."""
    if _QUOTA.search(message):
        return FailureCause.QUOTA
    return FailureCause.INSUFFICIENT_CAPACITY if _CAPACITY.search(message) else FailureCause.REPLICAS_NOT_MADE


def _health_replacements(activities: Sequence[Json]) -> Iterator[str]:
    """Why instances were terminated for their health, in the words of AWS."""
    for activity in activities:
        cause = str(activity.get("Cause") or "")
        if str(activity.get("Description", "")).startswith("Terminating") and _HEALTH_CHECK.search(cause):
            yield cause


def _is_ended_launch(activity: Json) -> bool:
    # A launch that a lower desired capacity cancelled has no message.
    is_failed = activity.get("StatusCode") in ("Failed", "Cancelled") and bool(activity.get("StatusMessage"))
    return str(activity.get("Description", "")).startswith("Launching") and (is_failed or _is_successful(activity))


def _is_successful(activity: Json) -> bool:
    return activity.get("StatusCode") == "Successful"


def _status_message(activity: Json) -> str:
    return str(activity["StatusMessage"])


def _began(activity: Json) -> datetime:
    return activity["StartTime"]


def _time_of(response: Json) -> datetime:
    """The time of AWS at a response; our own without the header Date."""
    metadata: dict[str, Any] = response.get("ResponseMetadata", {})
    try:
        return parsedate_to_datetime(metadata["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return WallClock().now()


def _shortened(message: str) -> str:
    sentence = " ".join(_FAILED_SUFFIX.sub("", message).split()).rstrip(".")
    return sentence if len(sentence) <= _MAX_SENTENCE else f"{sentence[: _MAX_SENTENCE - 1]}…"
