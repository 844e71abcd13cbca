"""What a policy's next decision has to know of this one."""

import base64
import hashlib

from forecasting.forecast import Forecast
from predictive_scaling.decision.context import DecisionContext
from predictive_scaling.decision.inputs import DecisionState, FloorChange, Source
from predictive_scaling.decision.limits import recent_changes, remember
from predictive_scaling.resources.metadata import MAX_NAME_LENGTH


def next_state(case: DecisionContext, floor: int) -> DecisionState:
    """The memory after this decision; bounded by the stabilization window and the longest period."""
    now, memory, spec = case.situation.now, case.situation.state, case.situation.policy.spec
    changes = recent_changes(memory.changes, now, max(spec.scale_up.period, spec.scale_down.period))
    if floor != case.before:
        changes = (*changes, FloorChange(now, case.before, floor))
    window = spec.scale_down.stabilization_window
    return DecisionState(
        # While data are missing or demand is out, the window starts anew.
        since=memory.since if _inputs_are_complete(case) else now,
        floor=memory.floor if case.pause.freezes else floor,
        recommendations=remember(memory.recommendations, now, case.strongest.replicas, window),
        changes=changes,
        no_forecast_since=case.inputs.no_forecast_since,
        reference_forecast=_reference_forecast(case),
        floor_source=_floor_source(case, floor),
    )


def _inputs_are_complete(case: DecisionContext) -> bool:
    return case.suppressed or case.fallback_may_lower or (case.inputs.allow_decrease and not case.outage)


def _reference_forecast(case: DecisionContext) -> Forecast | None:
    """While demand is out, or missing, the forecast from before stays the yardstick."""
    in_order = case.inputs.demand is not None and not case.outage
    return (
        case.inputs.forecast or case.situation.state.reference_forecast
        if in_order
        else case.situation.state.reference_forecast
    )


def _floor_source(case: DecisionContext, floor: int) -> Source | None:
    if case.pause.pin is not None and not case.pause.freezes:
        return Source.PIN
    asked_for_all = case.strongest.replicas >= floor
    return case.strongest.source if asked_for_all else case.situation.state.floor_source


_ID_LENGTH = 12


def decision_id(policy_uid: str, generation: int, previous: str | None, before: int, after: int) -> str:
    """A hash of what is decided: letters and digits that may stand in a DNS label.

    previous: the id of the target's previous decision; None for its first.
    """
    said = "\n".join((policy_uid, str(generation), previous or "", str(before), str(after)))
    digest = hashlib.sha256(said.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:_ID_LENGTH]


def decision_name(policy_name: str, identity: str) -> str:
    """Name of the ScalingDecision object: the policy's name, cut where it has to be, and the id.

    >>> decision_name("checkout", "abcdefghijkl")
    'checkout-abcdefghijkl'
    """
    return f"{policy_name[: MAX_NAME_LENGTH - len(identity) - 1].rstrip('-.')}-{identity}"
