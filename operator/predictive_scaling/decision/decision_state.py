"""The state that a decision leaves for the next one, and the identity of a decision."""

import base64
import hashlib

from forecasting.forecast import Forecast
from predictive_scaling.decision.context import DecisionContext
from predictive_scaling.decision.inputs import DecisionState, FloorChange, Source
from predictive_scaling.decision.limits import recent_changes, with_recommendation
from predictive_scaling.resources.metadata import MAX_NAME_LENGTH


def next_state(context: DecisionContext, floor: int) -> DecisionState:
    """The state after this decision; its size is bounded by the stabilization window and the longest period."""
    now, state, spec = context.situation.now, context.situation.state, context.situation.policy.spec
    changes = recent_changes(state.changes, now, max(spec.scale_up.period, spec.scale_down.period))
    if floor != context.before:
        changes = (*changes, FloorChange(now, context.before, floor))
    window = spec.scale_down.stabilization_window
    return DecisionState(
        # The window starts again while data are missing or during an outage.
        since=state.since if _inputs_are_complete(context) else now,
        floor=state.floor if context.pause.freezes else floor,
        recommendations=with_recommendation(state.recommendations, now, context.strongest.replicas, window),
        changes=changes,
        no_forecast_since=context.inputs.no_forecast_since,
        reference_forecast=_reference_forecast(context),
        floor_source=_floor_source(context, floor),
    )


def _inputs_are_complete(context: DecisionContext) -> bool:
    has_data = context.inputs.allow_decrease and not context.outage
    return context.suppressed or context.fallback_may_lower or has_data


def _reference_forecast(context: DecisionContext) -> Forecast | None:
    """The trusted forecast; without demand or during an outage the previous reference."""
    previous = context.situation.state.reference_forecast
    is_as_expected = context.inputs.demand is not None and not context.outage
    return context.inputs.forecast or previous if is_as_expected else previous


def _floor_source(context: DecisionContext, floor: int) -> Source | None:
    if context.pause.pin is not None and not context.pause.freezes:
        return Source.PIN
    covers_floor = context.strongest.replicas >= floor
    return context.strongest.source if covers_floor else context.situation.state.floor_source


_ID_LENGTH = 12


def decision_id(policy_uid: str, generation: int, previous: str | None, before: int, after: int) -> str:
    """A hash of the decision: letters and digits that are valid in a DNS label.

    previous: the id of the target's previous decision; None for its first.
    """
    content = "\n".join((policy_uid, str(generation), previous or "", str(before), str(after)))
    digest = hashlib.sha256(content.encode()).digest()
    return base64.b32encode(digest).decode().lower()[:_ID_LENGTH]


def decision_name(policy_name: str, identity: str) -> str:
    """Name of the ScalingDecision object: the policy's name, truncated where necessary, and the id.

    >>> decision_name("checkout", "abcdefghijkl")
    'checkout-abcdefghijkl'
    """
    return f"{policy_name[: MAX_NAME_LENGTH - len(identity) - 1].rstrip('-.')}-{identity}"
