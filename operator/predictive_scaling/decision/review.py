"""Rules that never come true as they are written: found by walking through them as their event does (semantics 27)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from predictive_scaling.decision.events.occurrences import first_start
from predictive_scaling.decision.events.recurrence import MAX_STEPS, Steps, walk
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent, parse_event
from predictive_scaling.resources.event_time import LAST_YEAR
from predictive_scaling.resources.recurrence_rule import Frequency, parse_rule
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy

_MAX_OVERLAPPING = 24
"""Occurrences of an event at a time: each one is forecast and weighed for each of its policies."""


def problem_of(event: BusinessEvent) -> str | None:
    """Why the event's recurrence can never work as written, and what to do; None where nothing is wrong."""
    if event.spec.recurrence is None:
        return None
    rule, first = event.spec.recurrence.rrule, first_start(event)
    read = parse_rule(rule)
    longest = _MAX_OVERLAPPING * read.interval * timedelta(hours=1)
    if read.frequency is Frequency.HOURLY and event.spec.recurrence.duration > longest:
        return (
            f"recurrence.rrule {rule} would have more than {_MAX_OVERLAPPING} occurrences at a time; make "
            "recurrence.duration shorter, or use FREQ=DAILY"
        )
    if _comes_true(rule, first.replace(tzinfo=None), event.spec.recurrence.timezone):
        return None
    return (
        f"recurrence.rrule {rule} never comes true: counted from {first:%Y-%m-%d %H:%M}, it has no start within "
        f"{MAX_STEPS} days or periods, nor before the year {LAST_YEAR + 1}; correct the parts that contradict each "
        "other, INTERVAL, UNTIL, or recurrence.from and start"
    )


@lru_cache(maxsize=4096)
def _comes_true(rule: str, first: datetime, zone: str) -> bool:
    # By local time and zone: two local times of two zones are equal, and one key, where they are the same moment.
    there = first.replace(tzinfo=ZoneInfo(zone))
    return next(walk(parse_rule(rule), there, there, Steps()), None) is not None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something does not work: a word for the condition, and a sentence that says what to do."""

    reason: str
    message: str


def review_policy(body: Mapping[str, Any]) -> ScalingPolicy | Problem:
    """The policy, or why it can never work as written. Never raises for what is in a manifest."""
    try:
        return parse_policy(body)
    except InvalidManifestError as error:
        return Problem(_reason(str(error)), str(error))


def review_event(body: Mapping[str, Any]) -> BusinessEvent | Problem:
    """The event, or why it can never work as written. Never raises for what is in a manifest."""
    try:
        event = parse_event(body)
    except InvalidManifestError as error:
        return Problem(_reason(str(error)), str(error))
    problem = problem_of(event)
    return Problem("InvalidRecurrence", f"BusinessEvent {event.key}: {problem}") if problem else event


def unexpected_problem(error: Exception) -> Problem:
    """What is said of an object on which the operator itself fails."""
    return Problem(
        "InternalError",
        f"the operator failed on this object ({type(error).__name__}: {error!s:.200}); please report it with what the "
        "log has of it, and change or delete the object meanwhile",
    )


def _reason(message: str) -> str:
    if ".timezone" in message:
        return "InvalidTimezone"
    if ".holidays" in message:
        return "InvalidHolidays"
    return "InvalidRecurrence" if ".rrule" in message else InvalidManifestError.reason
