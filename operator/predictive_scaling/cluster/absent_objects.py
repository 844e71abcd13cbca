"""Requests of objects that no watch shows: that there is none, or that it may not be read, counts for a while."""

import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import TargetRefusedError

Record = TypeVar("Record")

_KEPT_SECONDS = (30.0, 60.0)
"""How long an answer counts, at least and at most: thousands of policies must not ask again in the same tick."""


class _Answer(NamedTuple):
    until: float
    refused: TargetRefusedError | None


@dataclass(slots=True)
class AbsentObjects:
    """Answers of the API server about objects that it does not have or show to the operator."""

    _answers: dict[Hashable, _Answer] = field(default_factory=dict[Hashable, _Answer])

    async def request(self, key: Hashable, read: Callable[[], Awaitable[Record | None]]) -> Record | None:
        """Return what `read` returns, or None without a request while an earlier None counts.

        Raises TargetRefusedError as `read` does, or again while an earlier refusal counts.
        """
        kept = self._answers.get(key)
        if kept is not None and monotonic() < kept.until:
            if kept.refused is not None:
                raise TargetRefusedError(str(kept.refused))
            return None
        try:
            record = await read()
        except TargetRefusedError as error:
            self._keep(key, error)
            raise
        if record is None:
            self._keep(key, None)
        return record

    def purge(self) -> None:
        """Remove the answers that no longer count."""
        now = monotonic()
        self._answers = {key: answer for key, answer in self._answers.items() if now < answer.until}

    def _keep(self, key: Hashable, refused: TargetRefusedError | None) -> None:
        self._answers[key] = _Answer(monotonic() + random.uniform(*_KEPT_SECONDS), refused)
