"""The policy's bounds and the target's maximum (semantics 1, 14, 25)."""

from predictive_scaling.decision.case import Case
from predictive_scaling.decision.model import Situation


def effective_maximum(situation: Situation) -> int:
    """The lower of the policy's and the target's maximum: the user's own maximum wins."""
    policy, target = situation.policy.spec.replicas.max, situation.observed.maximum
    return policy if target is None else min(policy, target)


def effective_minimum(situation: Situation) -> int:
    """The policy's minimum, where the maximum lets it."""
    return min(situation.policy.spec.replicas.min, effective_maximum(situation))


def at_least_minimum(floor: int, case: Case) -> int:
    """Never below the policy's minimum."""
    return max(floor, effective_minimum(case.situation))


def at_most_maximum(floor: int, case: Case) -> int:
    """Never above the effective maximum, which is never raised."""
    return min(floor, effective_maximum(case.situation))
