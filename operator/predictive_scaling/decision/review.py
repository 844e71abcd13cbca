"""What can never work as written (semantics 27). What may heal by itself is not looked for here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from predictive_scaling.decision.recurrence_limits import problem_of
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent, parse_event
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy


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
    problem = problem_of(event.spec.recurrence) if event.spec.recurrence else None
    return Problem("InvalidRecurrence", problem) if problem else event


def _reason(message: str) -> str:
    if ".timezone" in message:
        return "InvalidTimezone"
    if ".holidays" in message:
        return "InvalidHolidays"
    return "InvalidRecurrence" if ".rrule" in message else InvalidManifestError.reason
