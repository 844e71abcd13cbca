"""Reactive scaling of a workload without an HPA: the HPA's arithmetic on the newest demand (semantics 1).

Stabilization, steps and bounds are the rules of each decision; the forecast, events and the minimum are the floor.
Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

from datetime import datetime

from predictive_scaling.decision.context import TrustedInputs, positive, trusted_demand
from predictive_scaling.decision.formatting import amount, replicas
from predictive_scaling.decision.inputs import Observed, Recommendation, Situation, Source
from predictive_scaling.decision.peak_demand import replicas_for
from predictive_scaling.resources.vocabulary import TargetKind

TOLERANCE = 0.1
"""Replicas do not change while their utilization is within this share of the target: the HPA's default."""


def reactive_replicas(demand: float, per_replica: float, utilization: float, current: int, ready: int) -> int:
    """Replicas for `demand` at `utilization`, or `current` where a change is not justified.

    demand: of all replicas, not negative; per_replica: what a ready replica serves at 100 %; utilization: the target, a
    fraction. The used share is measured over the ready replicas. Before a raise, replicas that are not ready count as
    idle: those that are starting may already suffice.

    >>> reactive_replicas(880, per_replica=100, utilization=0.7, current=9, ready=9)
    13
    >>> reactive_replicas(880, per_replica=100, utilization=0.7, current=13, ready=9)
    13
    """
    serving = min(ready, current) or current
    if serving == 0:
        return replicas_for(demand, per_replica, utilization)
    used = demand / (serving * per_replica * utilization)
    if used > 1:
        used = demand / (current * per_replica * utilization)
        is_justified = used > 1 + TOLERANCE
    else:
        is_justified = used < 1 - TOLERANCE
    return replicas_for(demand, per_replica, utilization) if is_justified else current


def recommend_reactively(situation: Situation, inputs: TrustedInputs, before: int) -> Recommendation | None:
    """The reactive recommendation for a workload; None for other targets, and where demand or capacity is unknown.

    before: the replicas before the decision. Without demand nothing is recommended, and the floor is not lowered.
    """
    policy = situation.policy
    if policy.spec.target.kind is not TargetKind.WORKLOAD or inputs.demand is None or inputs.per_replica is None:
        return None
    ready, target = situation.observed.ready_replicas, policy.spec.demand.target_utilization
    count = reactive_replicas(inputs.demand, inputs.per_replica, target / 100, before, ready)
    demand = f"the demand of {amount(inputs.demand)} {policy.spec.demand.metric}"
    at = f"{target} % of {amount(inputs.per_replica)} per replica"
    if count == before:
        why = f"{demand} requires no change of {replicas(count)} at {at}"
    else:
        why = f"{demand} requires {replicas(count)} at {at}"
    return Recommendation(count, Source.REACTIVE, why, demand=inputs.demand, at=inputs.demand_at)


def floor_to_restore(original: int, observed: Observed, last: Situation | None, now: datetime) -> int:
    """The replicas that a released target gets: the original ones, but never fewer than demand needs.

    Above a minimum an autoscaler stays in charge. A workload has none: the original replicas could be too few for the
    current demand, so that it keeps those that demand needs, or all of them where demand is not known.
    last: the situation of the policy's last decision; None where none was made since a restart.
    """
    current = observed.current_replicas
    if not observed.is_scaled_directly or original >= current:
        return original
    per_replica = positive(last.per_replica) if last else None
    recent = last is not None and last.demand is not None and now - last.demand.at <= last.metrics_max_age
    demand = trusted_demand(last) if last is not None and recent else None
    if last is None or demand is None or per_replica is None:
        return current
    needed = replicas_for(demand, per_replica, last.policy.spec.demand.target_utilization / 100)
    return max(original, min(current, needed))
