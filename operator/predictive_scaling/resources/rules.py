"""Rules between fields: each is written once in CEL for the API server and once in Python for manifests in files.

A test sends the same wrong manifests to both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold for a part of a manifest."""

    cel: str
    """The rule for the API server; `self` is the part."""

    holds: Callable[[Any], bool]
    """The same in Python; its argument is the part's model."""

    message: str
    """What is allowed, in words that follow the field's path."""

    field: str | None = None
    """The field to blame, such as `min`; without it the part itself."""

    message_cel: str | None = None
    """CEL for a message that tells what was given; `message` is used where it fails."""

    def to_validation(self) -> dict[str, Any]:
        """The item of x-kubernetes-validations."""
        validation: dict[str, Any] = {"rule": self.cel, "message": self.message}
        if self.message_cel:
            validation["messageExpression"] = self.message_cel
        if self.field:
            validation["fieldPath"] = f".{self.field}"
        return validation
