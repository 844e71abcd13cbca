"""Failed reconciliations: their status, and when they are retried. No other policy waits for them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.policy_memory import ReconcileRetry
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.reconciler import ReconcileOutcome, Reconciler
from predictive_scaling.control.situations import Tick
from predictive_scaling.decision.review import Problem
from predictive_scaling.errors import ClusterUnavailableError, PredictiveScalingError, RequestFailedError
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType

log = structlog.get_logger(__name__)

VISITS_FAILED = Counter("predictive_scaling_visits_failed_total", "Reconciliations that ended in an error.", ["reason"])

FIRST_PAUSE = timedelta(seconds=15)
MAX_PAUSE = timedelta(minutes=5)
_MAX_DOUBLINGS = 10


class ReconcileTimedOutError(PredictiveScalingError):
    """A reconciliation exceeded its time limit."""

    reason = "VisitTimedOut"


@dataclass(frozen=True, slots=True)
class ReconcileFailures:
    """Shows failed reconciliations and spaces their retries."""

    reconciler: Reconciler
    events: KubernetesEvents

    def waits(self, record: PolicyRecord, state: PolicyState, now: datetime) -> bool:
        """Whether a retry is pending and not due; after a change by a person it is due at once."""
        retry = state.retry
        if retry is None or record.deleted or now >= retry.until:
            return False
        return (retry.generation, retry.annotations) == (record.generation, record.annotations)

    def succeeded(self, state: PolicyState) -> None:
        """End the back-off after a successful reconciliation."""
        state.retry_at(None)

    async def show(
        self, record: PolicyRecord, state: PolicyState, tick: Tick, error: Exception
    ) -> ReconcileOutcome | None:
        """Count, log and back off, and write Ready=False with the reason; None where not even that is possible."""
        problem = _problem(error)
        VISITS_FAILED.labels(problem.reason).inc()
        if isinstance(error, PredictiveScalingError):
            log.warning("visit_failed", policy=str(record.key), reason=problem.reason, error=str(error))
        else:
            log.error("visit_failed", policy=str(record.key), reason=problem.reason, exc_info=error)
        requested = error.retry_after_seconds if isinstance(error, RequestFailedError) else None
        state.retry_at(_longer(record, state.retry, tick.now, requested))
        if record.deleted:
            return None
        if _shown_reason(state) != problem.reason:
            self.events.emit(record, EventReason.VISIT_FAILED, f"{problem.reason}: {problem.message}")
        try:
            return await self.reconciler.show_failure(record, state, tick, problem)
        except ClusterUnavailableError as unavailable:
            log.warning("failure_not_shown", policy=str(record.key), error=str(unavailable))
        except Exception:  # the cause of the failure may also prevent this; both are logged
            log.exception("failure_not_shown", policy=str(record.key))
        return None


def _longer(
    record: PolicyRecord, retry: ReconcileRetry | None, now: datetime, requested_seconds: float | None = None
) -> ReconcileRetry:
    """Return the next back-off: twice the last, at most MAX_PAUSE, and at least what the server requested."""
    failures = retry.failures if retry is not None else 0
    pause = min(FIRST_PAUSE * 2 ** min(failures, _MAX_DOUBLINGS), MAX_PAUSE)
    if requested_seconds is not None:
        pause = max(pause, min(timedelta(seconds=requested_seconds), MAX_PAUSE))
    return ReconcileRetry(now + pause, failures + 1, record.generation, record.annotations)


def _problem(error: Exception) -> Problem:
    if isinstance(error, PredictiveScalingError):
        return Problem(error.reason, str(error))
    message = (
        f"the reconciliation failed with {type(error).__name__}: {error}; this is a fault of the operator, see its log"
    )
    return Problem(PredictiveScalingError.reason, message)


def _shown_reason(state: PolicyState) -> str | None:
    """Return the current reason of Ready=False; None if Ready is not False."""
    for condition in state.conditions:
        if condition.type == ConditionType.READY and condition.status is ConditionStatus.FALSE:
            return condition.reason
    return None
