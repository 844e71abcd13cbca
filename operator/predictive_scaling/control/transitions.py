"""Which Kubernetes Events a visit gives rise to: what changed since the visit before, never what merely is."""

from collections.abc import Iterable, Mapping

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import Events, Happened
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.decision.inputs import Decision
from predictive_scaling.resources.conditions import Condition
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType

_BECAME: Mapping[tuple[ConditionType, ConditionStatus], Happened] = {
    (ConditionType.FALLBACK, ConditionStatus.TRUE): Happened.FALLBACK_ACTIVATED,
    (ConditionType.FALLBACK, ConditionStatus.FALSE): Happened.FALLBACK_DEACTIVATED,
    (ConditionType.PAUSED, ConditionStatus.TRUE): Happened.PAUSED,
    (ConditionType.PAUSED, ConditionStatus.FALSE): Happened.RESUMED,
    (ConditionType.CONFLICT, ConditionStatus.TRUE): Happened.CONFLICT_DETECTED,
    (ConditionType.SCALING_LIMITED, ConditionStatus.TRUE): Happened.CAPPED_AT_MAX,
    (ConditionType.FORECAST_READY, ConditionStatus.FALSE): Happened.FORECAST_STALE,
}
_FROM_UNKNOWN = frozenset(
    {Happened.FALLBACK_ACTIVATED, Happened.PAUSED, Happened.CONFLICT_DETECTED, Happened.CAPPED_AT_MAX}
)


def tell(
    events: Events, record: PolicyRecord, state: PolicyState, conditions: Iterable[Condition], decision: Decision
) -> None:
    """Send an Event for each transition; `state` is still that of the visit before."""
    conditions = tuple(conditions)
    before = {condition.type: condition.status for condition in state.conditions}
    for condition in conditions:
        happened = _BECAME.get((ConditionType(condition.type), condition.status))
        was = before.get(condition.type, ConditionStatus.UNKNOWN)
        if happened is None or was is condition.status:
            continue
        if was is not ConditionStatus.UNKNOWN or happened in _FROM_UNKNOWN:
            events.about(record, happened, condition.message)
    _tell_of_database(events, record, state.conditions, conditions)
    if state.decision is not None and state.decision.event != decision.event:
        if state.decision.event is not None:
            events.about(record, Happened.EVENT_WINDOW_ENDED, f"{state.decision.event} asks for the floor no more")
        if decision.event is not None:
            events.about(record, Happened.EVENT_WINDOW_STARTED, decision.message)


def _tell_of_database(
    events: Events, record: PolicyRecord, before: Iterable[Condition], now: Iterable[Condition]
) -> None:
    """Without the database a policy stays Ready and the reason says so: a transition of the reason, not the status."""
    problem, was = _without_database(now), _without_database(before)
    if problem is not None and was is None:
        events.about(record, Happened.DATABASE_UNAVAILABLE, problem)
    elif problem is None and was is not None:
        events.about(record, Happened.DATABASE_AVAILABLE, "decisions are recorded again, and floors may be lowered")


def _without_database(conditions: Iterable[Condition]) -> str | None:
    reason = Happened.DATABASE_UNAVAILABLE.value
    return next((c.message for c in conditions if c.type == ConditionType.READY and c.reason == reason), None)
