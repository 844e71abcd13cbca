"""Rules that never come true as they are written: found by walking through them as their event does (semantics 27)."""

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from predictive_scaling.decision.occurrences import first_start
from predictive_scaling.decision.recurrence_walk import MAX_STEPS, Steps, walk
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.event_time import LAST_YEAR
from predictive_scaling.resources.recurrence_rule import Frequency, parse_rule

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
