"""What the floor does when there is nothing left to forecast from (semantics 8)."""

from predictive_scaling.decision.amounts import clock_time, replicas
from predictive_scaling.decision.freshness import Sight
from predictive_scaling.decision.model import Situation, Source, Wish
from predictive_scaling.resources.vocabulary import FallbackBehavior


def is_in_fallback(situation: Situation, sight: Sight) -> bool:
    """Whether there has been no forecast, of any rung, for fallback.after."""
    blind_since = sight.blind_since
    return blind_since is not None and situation.now - blind_since >= situation.policy.spec.fallback.after


def ask_fallback(situation: Situation, sight: Sight, before: int) -> Wish | None:
    """The floor of fallback.behavior; None while the ladder has a rung left, or `after` has not passed."""
    if sight.blind_since is None or not is_in_fallback(situation, sight):
        return None
    fallback, current = situation.policy.spec.fallback, situation.observed.current_replicas
    match fallback.behavior:
        case FallbackBehavior.STATIC:
            wanted, how = fallback.replicas or 0, "the policy falls back to"
        case FallbackBehavior.CURRENT_REPLICAS:
            wanted, how = current, "the policy falls back to the current"
        case FallbackBehavior.CURRENT_REPLICAS_IF_HIGHER:
            wanted, how = max(current, before), "the policy falls back to the higher of floor and current replicas:"
        case FallbackBehavior.HOLD_FLOOR:
            wanted, how = before, "the policy holds its floor of"
    why = f"no forecast since {clock_time(sight.blind_since)}; {how} {replicas(wanted)}"
    return Wish(wanted, Source.FALLBACK, why, always_writes=True)


def may_lower(situation: Situation, sight: Sight) -> bool:
    """Whether the policy named a floor for this case, which counts also where it is lower."""
    named = (FallbackBehavior.STATIC, FallbackBehavior.CURRENT_REPLICAS)
    return is_in_fallback(situation, sight) and situation.policy.spec.fallback.behavior in named
