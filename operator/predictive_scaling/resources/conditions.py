"""Conditions, as the Kubernetes API conventions define them."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from predictive_scaling.resources.part import Part, fitted_to
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType

MAX_MESSAGE_LENGTH = 1024
UNKNOWN_REASON = "Unknown"
"""Replaces a reason from the cluster that contains no letter."""
_MAX_REASON_LENGTH = 63
MAX_CONDITIONS = 20
_FIRST_SECOND, _LAST_SECOND = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def in_utc(moment: datetime) -> datetime:
    """Return the time in UTC; a time that its offset moves out of the calendar becomes the first or last second.

    >>> in_utc(datetime.fromisoformat("9999-12-31T23:00:00-05:00")).isoformat()
    '9999-12-31T23:59:59+00:00'
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return _LAST_SECOND if moment.year > 1 else _FIRST_SECOND


def full_second(moment: datetime) -> datetime:
    """Return the time at the resolution of a status: UTC, without fractions of a second."""
    moment = in_utc(moment)
    return moment.replace(microsecond=0) if moment.microsecond else moment


def format_time(moment: datetime) -> str:
    """Return a time as written in statuses: UTC, full seconds.

    >>> format_time(datetime(2026, 11, 27, 8, tzinfo=UTC))
    '2026-11-27T08:00:00Z'
    """
    return full_second(moment).isoformat().removesuffix("+00:00") + "Z"


def _as_reason(word: Any, info: ValidationInfo) -> Any:
    if info.mode != "python" or not isinstance(word, str):
        return word
    is_plain = word.isascii() and word.isalnum()
    letters = (word if is_plain else re.sub(r"[^A-Za-z0-9]+", "", word))[:_MAX_REASON_LENGTH]
    return letters if letters[:1].isalpha() else UNKNOWN_REASON


Message = Annotated[str, Field(max_length=MAX_MESSAGE_LENGTH), fitted_to(MAX_MESSAGE_LENGTH)]
"""A sentence in a status, truncated to the length that fits."""

Timestamp = Annotated[
    AwareDatetime,
    AfterValidator(full_second),
    PlainSerializer(format_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40}),
]
"""A time in a status: UTC, full seconds."""


class Condition(Part):
    """One aspect of the state of an object."""

    model_config = Part.model_config | {"extra": "ignore"}

    type: Annotated[str, Field(min_length=1, max_length=63)]
    """Type of the condition, such as Ready."""

    status: ConditionStatus
    """True, False or Unknown."""

    reason: Annotated[
        str,
        Field(min_length=1, max_length=_MAX_REASON_LENGTH, pattern=r"^[A-Za-z][A-Za-z0-9]*$"),
        BeforeValidator(_as_reason),
    ]
    """Reason in one word."""

    message: Message = ""
    """Reason in a sentence."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """metadata.generation of the spec that the condition was evaluated for."""

    last_transition_time: Timestamp | None = None
    """Time of the last change of status."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=MAX_CONDITIONS,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]
"""The conditions of a status, one of each type."""

UNJUDGED = "NotYetJudged"
"""Reason of a condition that was not evaluated yet."""


def merge(
    conditions: Iterable[Condition],
    new: Iterable[Condition],
    now: datetime,
    known: Iterable[str] = tuple(ConditionType),
) -> tuple[Condition, ...]:
    """Return the conditions updated by `new`: all known types in their order, then others.

    A known type without a condition is Unknown. lastTransitionTime becomes `now` only where the status changes.

    >>> [condition.status.value for condition in merge([], [], datetime(2026, 1, 1, tzinfo=UTC), known=["Ready"])]
    ['Unknown']
    """
    now = full_second(now)
    before = {condition.type: condition for condition in conditions}
    after = {condition.type: condition for condition in new}
    # Conditions of other controllers stay, up to the maximum number of conditions.
    types = [*dict.fromkeys([*map(str, known), *after, *before])][:MAX_CONDITIONS]
    return tuple(
        _with_transition(before.get(type_), after.get(type_) or before.get(type_) or _unjudged(type_), now)
        for type_ in types
    )


def _with_transition(before: Condition | None, after: Condition, now: datetime) -> Condition:
    unchanged = before is not None and before.status is after.status
    since = before.last_transition_time if before is not None and unchanged else now
    return after.model_copy(update={"last_transition_time": since or now})


def _unjudged(type_: str) -> Condition:
    return Condition(type=type_, status=ConditionStatus.UNKNOWN, reason=UNJUDGED, message="not judged yet")


def read_conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions in the status of an object; invalid ones are left out, and evaluated again."""
    readable: list[Condition] = []
    for item in status.get("conditions") or ():
        try:
            readable.append(Condition.model_validate(item))
        except ValidationError:
            continue
    return tuple(readable)
