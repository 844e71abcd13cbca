"""Node headroom: the floor of a node's start time later, less the replicas that exist (semantics 30).

The pods of a raise wait for a node where no node has spare capacity. Where capacity is reserved a node's start time
before the floor rises, they do not wait, and are ready within the lead time that the floor is computed with.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from predictive_scaling.decision.context import active_hold
from predictive_scaling.decision.decide import strongest_recommendation
from predictive_scaling.decision.inputs import Decision, Situation
from predictive_scaling.decision.limits import RecommendationHistory, effective_maximum, with_recommendation


@dataclass(frozen=True, slots=True)
class HeadroomState:
    """What is remembered between two computations, so that a dip of the forecast releases no node."""

    recommendations: RecommendationHistory = ()
    """Replicas needed a node's start time later, over the stabilization window, highest first."""

    def shifted(self, by: timedelta) -> "HeadroomState":
        """Return the state with all of its times moved, after the clock was stepped."""
        return HeadroomState(tuple((at + by, replicas) for at, replicas in self.recommendations))


def resumed_headroom(existing: int, current_replicas: int, now: datetime) -> HeadroomState:
    """Return the state after a restart: existing headroom is kept for a full stabilization window."""
    return HeadroomState(((now, existing + current_replicas),)) if existing else HeadroomState()


def node_headroom(situation: Situation, decision: Decision, state: HeadroomState) -> tuple[int, HeadroomState]:
    """The number of replicas that need headroom, and the state for the next computation.

    0 if the policy requests no headroom, and while it is frozen, pinned, or held back after a raise that did harm: no
    raise follows. Otherwise the highest need of the stabilization window, within the effective maximum.
    """
    options, now = situation.policy.spec.node_headroom, situation.now
    if options is None or _raises_are_held(situation, decision):
        return 0, HeadroomState()
    later = replace(situation, lead_time=situation.lead_time + options.lead_time)
    needed = min(strongest_recommendation(later).replicas, effective_maximum(situation))
    if situation.current_forecast is None or now >= situation.current_forecast.valid_until:
        # Missing data never counts as low demand: the headroom stays as it is (semantics 8).
        needed = max([needed, *(replicas for _, replicas in state.recommendations)])
    window = situation.policy.spec.scale_down.stabilization_window
    history = with_recommendation(state.recommendations, now, needed, window)
    highest = max(replicas for _, replicas in history)
    headroom = max(0, min(highest, effective_maximum(situation)) - _replicas(situation, decision))
    return min(headroom, options.max_replicas or headroom), HeadroomState(history)


def _raises_are_held(situation: Situation, decision: Decision) -> bool:
    return (
        decision.pause.freezes
        or decision.pause.pin is not None
        or situation.conflict is not None
        or active_hold(situation) is not None
    )


def _replicas(situation: Situation, decision: Decision) -> int:
    """Replicas that exist or are about to: of the target, or of the floor just decided."""
    return max(situation.observed.current_replicas, decision.floor)
