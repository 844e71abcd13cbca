"""What every rule looks at besides the floor so far."""

from dataclasses import dataclass

from predictive_scaling.decision.freshness import Sight
from predictive_scaling.decision.model import Pause, Situation, Wish
from predictive_scaling.resources.vocabulary import Mode


@dataclass(frozen=True, slots=True)
class Case:
    """A situation, what can be relied on in it, and what was asked for."""

    situation: Situation
    before: int
    """The floor as it stands: the target's own in Auto, the one that we would hold in Recommend."""
    sight: Sight
    pause: Pause
    strongest: Wish
    outage: bool
    suppressed: bool
    """An event suppresses the forecast over all of the window: a person expects demand, and metrics, to vanish."""
    blind_order: bool
    """In fallback, with a floor that the policy names for it: data are not needed to go there."""


def floor_before(situation: Situation) -> int:
    """The floor as it stands. In Auto it is what the target says, so that our missed or lost writes heal.

    Recommend starts from the target's real minimum and then goes by its own floor.
    """
    from_memory = situation.memory.floor
    writes = situation.policy.spec.mode is Mode.AUTO
    return situation.observed.minimum if writes or from_memory is None else from_memory
