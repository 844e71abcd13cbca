"""Kubernetes Events of a reconciliation: they report changes since the previous one, never a lasting state."""

from collections.abc import Iterable, Mapping

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.decision.inputs import Decision
from predictive_scaling.resources.conditions import Condition
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType

_BECAME: Mapping[tuple[ConditionType, ConditionStatus], EventReason] = {
    (ConditionType.FALLBACK, ConditionStatus.TRUE): EventReason.FALLBACK_ACTIVATED,
    (ConditionType.FALLBACK, ConditionStatus.FALSE): EventReason.FALLBACK_DEACTIVATED,
    (ConditionType.PAUSED, ConditionStatus.TRUE): EventReason.PAUSED,
    (ConditionType.PAUSED, ConditionStatus.FALSE): EventReason.RESUMED,
    (ConditionType.CONFLICT, ConditionStatus.TRUE): EventReason.CONFLICT_DETECTED,
    (ConditionType.SCALING_LIMITED, ConditionStatus.TRUE): EventReason.CAPPED_AT_MAX,
    (ConditionType.FORECAST_READY, ConditionStatus.FALSE): EventReason.FORECAST_STALE,
}
_FROM_UNKNOWN = frozenset(
    {EventReason.FALLBACK_ACTIVATED, EventReason.PAUSED, EventReason.CONFLICT_DETECTED, EventReason.CAPPED_AT_MAX}
)


def emit_transitions(
    events: KubernetesEvents,
    record: PolicyRecord,
    state: PolicyState,
    conditions: Iterable[Condition],
    decision: Decision,
) -> None:
    """Send an Event for each transition; `state` is that of the previous reconciliation."""
    conditions = tuple(conditions)
    before = {condition.type: condition.status for condition in state.conditions}
    for condition in conditions:
        happened = _BECAME.get((ConditionType(condition.type), condition.status))
        was = before.get(condition.type, ConditionStatus.UNKNOWN)
        if happened is None or was is condition.status:
            continue
        if was is not ConditionStatus.UNKNOWN or happened in _FROM_UNKNOWN:
            events.emit(record, happened, condition.message)
    _emit_database_events(events, record, state.conditions, conditions)
    if state.decision is not None and state.decision.event != decision.event:
        if state.decision.event is not None:
            events.emit(record, EventReason.EVENT_WINDOW_ENDED, f"{state.decision.event} no longer recommends a floor")
        if decision.event is not None:
            events.emit(record, EventReason.EVENT_WINDOW_STARTED, decision.message)


def _emit_database_events(
    events: KubernetesEvents, record: PolicyRecord, before: Iterable[Condition], now: Iterable[Condition]
) -> None:
    """Without the database a policy stays Ready with another reason: a transition of the reason, not of the status."""
    problem, was = _without_database(now), _without_database(before)
    if problem is not None and was is None:
        events.emit(record, EventReason.DATABASE_UNAVAILABLE, problem)
    elif problem is None and was is not None:
        events.emit(record, EventReason.DATABASE_AVAILABLE, "decisions are recorded again, and floors may be lowered")


def _without_database(conditions: Iterable[Condition]) -> str | None:
    reason = EventReason.DATABASE_UNAVAILABLE.value
    return next((c.message for c in conditions if c.type == ConditionType.READY and c.reason == reason), None)
