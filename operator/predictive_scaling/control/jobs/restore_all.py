"""Restores the targets of all policies before the operator is removed: nothing would restore them afterwards."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.cluster.informer_cache import InformerCache, PolicyRecord
from predictive_scaling.control.actuation.headroom_writer import HeadroomWriter
from predictive_scaling.control.actuation.restoration import Restoration
from predictive_scaling.control.guarded_reads import describe_error
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.errors import LeadershipLostError, PredictiveScalingError
from predictive_scaling.resources.metadata import PolicyKey

log = structlog.get_logger(__name__)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Restored:
    """The outcome."""

    policies: int
    """Number of policies whose targets were restored."""
    failures: dict[PolicyKey, str]
    """Why a policy still holds its target, by policy."""


@dataclass(frozen=True, slots=True)
class RestoreAll:
    """Ends all take-overs. The policies stay as they are, so that an operator that is installed later resumes them."""

    cache: InformerCache
    states: PolicyStates
    restoration: Restoration
    headroom: HeadroomWriter
    clock: Clock
    leads: Callable[[], bool]
    in_flight: int
    """Maximum number of policies that are restored concurrently."""

    async def run(self, seconds: float) -> Restored:
        """Restore each target and remove finalizers and placeholders; repeat what fails for `seconds` in real time.

        Raises LeadershipLostError as soon as another process may lead, and ClusterUnavailableError if the placeholders
        cannot be listed.
        """
        deadline = monotonic() + seconds
        pending, count = self.cache.policies(), 0
        while True:
            results = await self._restore(pending)
            count += sum(result is True for result in results)
            failures = {
                record.key: result for record, result in zip(pending, results, strict=True) if isinstance(result, str)
            }
            pending = [record for record in pending if record.key in failures]
            if not pending or monotonic() >= deadline:
                break
            log.warning("targets_not_restored", policies=len(pending), example=failures[pending[0].key])
            await asyncio.sleep(_RETRY_SECONDS)
        for path in (await self.headroom.read()).objects:
            self._check_lease()
            await self.headroom.delete(path)
        return Restored(count, failures)

    async def _restore(self, records: list[PolicyRecord]) -> list[bool | str]:
        """Return for each policy whether it held a target that is restored now, or why it still holds it."""
        slots = asyncio.Semaphore(self.in_flight)

        async def restore(record: PolicyRecord) -> bool | str:
            async with slots:
                self._check_lease()
                return await self._restore_isolated(record)

        return list(await asyncio.gather(*map(restore, records)))

    async def _restore_isolated(self, record: PolicyRecord) -> bool | str:
        """As _restore, for one policy. Never raises: a failure of one policy affects no other."""
        try:
            now = self.clock.now()
            state = self.states.of(record, now)
            if not self.restoration.holds(record, state):
                return False
            await self.restoration.restore(record, state, now)
        except PredictiveScalingError as error:  # it is repeated, and reported at the end
            return str(error)
        except Exception as error:  # likewise, with its type
            return describe_error(error)
        return True

    def _check_lease(self) -> None:
        if not self.leads():
            raise LeadershipLostError("The lease was lost while targets were restored: another operator may lead now.")
