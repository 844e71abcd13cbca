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
