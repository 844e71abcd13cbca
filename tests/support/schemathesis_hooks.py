"""Hooks of Schemathesis: rules of parameters that a JSON schema cannot state."""

from typing import Any

import schemathesis
from schemathesis import Case, Response
from schemathesis.openapi.checks import RejectedPositiveData

BEYOND_SCHEMAS = (
    "to must be after from",
    "must be between",
    "must be at most 7d",
    "is longer than the longest supported duration",
    "write an RFC 3339 time",  # a day that its month does not have
)
"""Messages of rules about two parameters together, and about the size of a duration."""


@schemathesis.hook
def map_case(_context: Any, case: Case[Any]) -> Case[Any]:
    """Leave out an invented cursor, which is valid for no list: it would hide what the other parameters do."""
    if case.query and case.meta is not None and case.meta.generation.mode.is_positive:
        case.query.pop("cursor", None)
    return case


@schemathesis.hook
def filter_failure(_context: Any, failure: Exception, _case: Case[Any], response: Response) -> bool:
    """Drop the refusals of what only looks valid."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 422:
        return True
    messages = [error["message"] for error in response.json().get("errors", [])]
    return not messages or not all(any(rule in message for rule in BEYOND_SCHEMAS) for message in messages)
