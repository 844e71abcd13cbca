"""A fall far below what was expected is an outage until it proves otherwise (semantics 10)."""

from predictive_scaling.decision.case import Case
from predictive_scaling.decision.freshness import Sight
from predictive_scaling.decision.model import Situation
from predictive_scaling.decision.peak import value_at

LOW_QUANTILE = 0.1
FAR_BELOW = 0.5
"""Half of the 0.1 quantile: a quiet hour does not get there."""


def is_outage(situation: Situation, sight: Sight) -> bool:
    """Whether demand is far below the 0.1 quantile of the last forecast made while it came in as expected.

    Later forecasts have seen the fall and expect it to go on, so they are no yardstick. That one is, for as long as it
    reaches: demand that stays low beyond its horizon is the new normal.
    """
    trusted = situation.memory.trusted
    if trusted is None or sight.demand is None or sight.demand_at is None:
        return False
    # The minute that ends at demand_at; before the first bin there is nothing to compare with.
    moment = sight.demand_at - trusted.step.resolution
    expected = value_at(trusted, LOW_QUANTILE, moment)
    return expected is not None and sight.demand < FAR_BELOW * expected


def hold_through_outage(floor: int, case: Case) -> int:
    """No decrease: the retry storm that follows must find its capacity. A planned outage (suppressForecast) is none."""
    return max(floor, case.before) if case.outage and not case.suppressed else floor
