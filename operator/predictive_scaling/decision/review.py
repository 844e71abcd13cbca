"""Manifests that can never work as written, with the reason (semantics 27)."""

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
from predictive_scaling.resources.namespace_patterns import NamespacePatterns
from predictive_scaling.resources.recurrence_rule import Frequency, parse_rule
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy

SERVICES_SETTING = "PREDICTIVE_SCALING_NAMESPACE_SERVICES"
_MAX_OVERLAPPING = 24
"""Overlapping occurrences of an event: each one is forecast and evaluated for each of its policies."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an object does not work: the reason for the condition, and a message that says what to do."""

    reason: str
    message: str


def review_policy(body: Mapping[str, Any]) -> ScalingPolicy | Problem:
    """The policy, or why it can never work as written. Never raises for the content of a manifest."""
    try:
        return parse_policy(body)
    except InvalidManifestError as error:
        return Problem(_reason(str(error)), str(error))


def review_event(body: Mapping[str, Any]) -> BusinessEvent | Problem:
    """The event, or why it can never work as written. Never raises for the content of a manifest."""
    try:
        event = parse_event(body)
    except InvalidManifestError as error:
        return Problem(_reason(str(error)), str(error))
    problem = recurrence_problem(event)
    return Problem("InvalidRecurrence", f"BusinessEvent {event.key}: {problem}") if problem else event


def service_problem(policy: ScalingPolicy, services: NamespacePatterns) -> Problem | None:
    """Why the policy may not read the demand of its service or of a regressor; None if its namespace may."""
    namespace = policy.metadata.namespace
    fields = {"spec.demand.service, which defaults to the policy's name,": policy.service} | {
        f"spec.forecast.regressors[{at}].service": regressor.service
        for at, regressor in enumerate(policy.spec.forecast.regressors)
    }
    refused = next((field for field, service in fields.items() if not services.allows(namespace, service)), None)
    if refused is None:
        return None
    return Problem(
        "ServiceNotAllowed",
        f"policies of namespace {namespace} may not read the demand of service {fields[refused]}; allowed: "
        f"{', '.join(services.allowed(namespace)) or 'none'}. Set {refused} to an allowed service, or add the service "
        f"to {SERVICES_SETTING} of the operator",
    )


def limit_problem(kind: str, namespace: str, maximum: int, setting: str) -> Problem:
    """Why an object beyond the limit of its namespace does nothing."""
    return Problem(
        "NamespaceLimitExceeded",
        f"namespace {namespace} has more than {maximum:,} {kind}, the limit of this installation, and this one is not "
        f"among the oldest; delete others, or raise {setting} of the operator",
    )


def unexpected_problem(error: Exception) -> Problem:
    """The problem of an object on which the operator itself fails."""
    return Problem(
        "InternalError",
        f"the operator failed to process this object ({type(error).__name__}: {error!s:.200}); report the error with "
        "its log entries; as a workaround, change or delete the object",
    )


def _reason(message: str) -> str:
    if ".timezone" in message:
        return "InvalidTimezone"
    if ".holidays" in message:
        return "InvalidHolidays"
    return "InvalidRecurrence" if ".rrule" in message else InvalidManifestError.reason


def recurrence_problem(event: BusinessEvent) -> str | None:
    """Why the event's recurrence can never work as written, and what to do; None for a valid one."""
    if event.spec.recurrence is None:
        return None
    rule, first = event.spec.recurrence.rrule, first_start(event)
    parsed = parse_rule(rule)
    max_duration = _MAX_OVERLAPPING * parsed.interval * timedelta(hours=1)
    if parsed.frequency is Frequency.HOURLY and event.spec.recurrence.duration > max_duration:
        return (
            f"recurrence.rrule {rule} would have more than {_MAX_OVERLAPPING} overlapping occurrences; shorten "
            "recurrence.duration, or use FREQ=DAILY"
        )
    if _has_start(rule, first.replace(tzinfo=None), event.spec.recurrence.timezone):
        return None
    return (
        f"recurrence.rrule {rule} never occurs: counted from {first:%Y-%m-%d %H:%M}, it has no start within "
        f"{MAX_STEPS} days or periods, or before the year {LAST_YEAR + 1}; correct contradictory parts, INTERVAL, "
        "UNTIL, recurrence.from or recurrence.start"
    )


@lru_cache(maxsize=4096)
def _has_start(rule: str, first: datetime, zone: str) -> bool:
    # Cached by local time and zone: aware times of two zones would be equal keys where they are the same instant.
    local = first.replace(tzinfo=ZoneInfo(zone))
    return next(walk(parse_rule(rule), local, local, Steps()), None) is not None
