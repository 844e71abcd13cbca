"""Rules between fields: each is written once in CEL for the API server and once in Python for manifests in files.

A test sends the same wrong manifests to both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for a part of a manifest."""

    cel: str
    """The rule for the API server; `self` is the part."""

    holds: Callable[[Any], bool]
    """The same rule in Python; its argument is the part's model."""

    message: str
    """The allowed values, in words that follow the field's path."""

    field: str | None = None
    """The field that the error refers to, such as `min`; None for the part itself."""

    message_cel: str | None = None
    """CEL of a message with the actual values; `message` is used if its evaluation fails."""

    def to_validation(self) -> dict[str, Any]:
        """Return the item of x-kubernetes-validations."""
        validation: dict[str, Any] = {"rule": self.cel, "message": self.message}
        if self.message_cel:
            validation["messageExpression"] = self.message_cel
        if self.field:
            validation["fieldPath"] = f".{self.field}"
        return validation
