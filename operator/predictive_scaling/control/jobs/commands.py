"""Carries out commands of the HTTP API, from the table `commands`."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.control.actuation.decision_records import DecisionRecords
from predictive_scaling.control.actuation.verification import Verification
from predictive_scaling.control.jobs.training import TrainingScheduler
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.vocabulary import DecisionPhase
from predictive_scaling.storage.commands import Command
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow

log = structlog.get_logger(__name__)

RELOAD_MODELS = "reload_models"
CLEAR_STUCK = "clear_stuck_decisions"
KINDS = (RELOAD_MODELS, CLEAR_STUCK)


class CommandTable(Protocol):
    """The part of storage.Commands that is used here."""

    def listen(self) -> AsyncIterator[None]:
        """Yields when there may be something to claim."""
        ...

    async def claim(self, kinds: Sequence[str], now: datetime) -> Command | None:
        """Take the oldest open command."""
        ...

    async def answer(self, id: int, answer: dict[str, Any], now: datetime) -> None:  # noqa: A002 (the column's name)
        """Answer it."""
        ...


class StuckDecisions(Protocol):
    """The part of storage.ScalingDecisions that is used here."""

    async def stuck(self, now: datetime) -> Sequence[ScalingDecisionRow]:
        """Unfinished decisions whose deadline has passed."""
        ...


@dataclass(frozen=True, slots=True)
class CommandHandler:
    """Answers commands while it leads."""

    table: CommandTable
    decisions: StuckDecisions
    records: DecisionRecords
    verification: Verification
    states: PolicyStates
    models: TrainingScheduler
    clock: Clock
    leads: Callable[[], bool]

    async def run(self) -> None:
        """Answer commands. Raises DatabaseUnavailableError when the database becomes unavailable."""
        async for _ in self.table.listen():
            while self.leads() and (command := await self.table.claim(KINDS, self.clock.now())) is not None:
                await self.table.answer(command.id, await self._do(command), self.clock.now())

    async def _do(self, command: Command) -> dict[str, Any]:
        try:
            answer = await (self._reload() if command.kind == RELOAD_MODELS else self._clear())
        except PredictiveScalingError as error:
            return {"error": str(error)}
        except Exception as error:  # the caller gets the error; later commands are unaffected
            log.exception("command_failed", kind=command.kind)
            return {"error": f"{type(error).__name__}: {error}"}
        log.info("command_answered", kind=command.kind, answer=answer)
        return answer

    async def _reload(self) -> dict[str, Any]:
        report = await self.models.reload()
        return {
            "reloaded": [f"{model.key} {model.version}" for model in report.reloaded],
            "rejected": [{"file": refused.file, "reason": refused.reason} for refused in report.rejected],
        }

    async def _clear(self) -> dict[str, Any]:
        stuck = await self.decisions.stuck(self.clock.now())
        # In memory first: a decision whose row is being cancelled must not be written.
        names = {row.id for row in stuck}
        self.states.drop_intents(names)
        self.verification.drop(names)
        cleared = [row for row in stuck if await self._clear_one(row)]
        return {"cleared": len(cleared)}

    async def _clear_one(self, row: ScalingDecisionRow) -> bool:
        message = f"Cleared: still {row.status} after its deadline."
        try:
            key = PolicyKey(row.namespace, row.policy)
            return await self.records.transition(key, row.id, DecisionPhase.CANCELLED, message, may_wait=False)
        except ClusterUnavailableError as error:
            # The row is cancelled, and its object follows as soon as it can be written.
            self.records.queue_write_back(replace(row, status=DecisionPhase.CANCELLED.stored, outcome=message))
            log.warning("cleared_decision_not_shown", policy=row.policy_name, decision=row.id, error=str(error))
            return True
