"""Reads that cannot fail a reconciliation: a failure is logged and answered with a default."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

Value = TypeVar("Value")


@dataclass(slots=True)
class GuardedReads:
    """Reads several parts; a failure of one does not affect the others."""

    policy: str
    failure: str | None = None
    """Message of the first failure; None without one."""

    def of(self, read: Callable[[], Value], otherwise: Value) -> Value:
        """Return what `read` returns, or `otherwise` if it raises."""
        try:
            return read()
        except Exception as error:
            log.exception("forecast_failed", policy=self.policy)
            self.failure = self.failure or f"forecasts or events could not be read: {describe_error(error)}"
            return otherwise


def describe_error(error: Exception) -> str:
    """Describe an unexpected error, with its type."""
    return f"{type(error).__name__}: {error}"
