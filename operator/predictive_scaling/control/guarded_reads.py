"""Reads that cannot fail a reconciliation: a failure is logged and answered with a default."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

Value = TypeVar("Value")


@dataclass(slots=True)
class GuardedReads:
    """Reads one part after another, each for itself."""

    policy: str
    failure: str | None = None
    """The first failure, in words; None while nothing failed."""

    def of(self, read: Callable[[], Value], otherwise: Value) -> Value:
        """What `read` gives, or `otherwise` where it raises."""
        try:
            return read()
        except Exception as error:
            log.exception("forecast_failed", policy=self.policy)
            self.failure = self.failure or f"forecasts or events could not be read: {describe_error(error)}"
            return otherwise


def describe_error(error: Exception) -> str:
    """An unexpected error in a sentence: its kind says more than its words."""
    return f"{type(error).__name__}: {error}"
