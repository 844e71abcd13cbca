"""What can be relied on now (semantics 8, 9, 11, 15). Missing data never reads as zero demand."""

import math
from dataclasses import dataclass
from datetime import datetime

from forecasting.forecast import Forecast
from predictive_scaling.decision.inputs import ForecastSource, Pause, Recommendation, Situation
from predictive_scaling.decision.peak_demand import reaches
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.vocabulary import Mode


@dataclass(frozen=True, slots=True)
class TrustedInputs:
    """What is left of a situation's data after what is stale, expired or no number was taken away."""

    demand: float | None
    """The newest demand; None while metrics are missing, stale, or an exact zero that the policy does not trust."""
    demand_at: datetime | None
    forecast: Forecast | None
    source: ForecastSource | None
    per_replica: float | None
    no_forecast_since: datetime | None
    """Since when there is no forecast; None while there is one."""

    @property
    def allow_decrease(self) -> bool:
        """Whether a floor may sink on it: today's demand, tomorrow's, and what a replica carries are all known."""
        return self.demand is not None and self.forecast is not None and self.per_replica is not None


def assess_inputs(situation: Situation, window: Span) -> TrustedInputs:
    """What can be relied on in this situation for the window ahead."""
    demand = trusted_demand(situation)
    outlook = situation.current_forecast
    usable = outlook is not None and situation.now < outlook.valid_until and reaches(outlook.forecast, window)
    return TrustedInputs(
        demand=demand,
        demand_at=situation.demand.at if situation.demand and demand is not None else None,
        forecast=outlook.forecast if outlook and usable else None,
        source=outlook.source if outlook and usable else None,
        per_replica=positive(situation.per_replica),
        no_forecast_since=None if usable else situation.state.no_forecast_since or situation.now,
    )


def trusted_demand(situation: Situation) -> float | None:
    """The newest demand, where it is fresh and a number that demand can be."""
    demand = situation.demand
    if demand is None or situation.now - demand.at > situation.metrics_max_age:
        return None
    if not 0.0 <= demand.value < math.inf:
        return None
    if demand.value == 0.0 and not situation.policy.spec.demand.zero_is_valid:
        return None
    return demand.value


def positive(number: float | None) -> float | None:
    """A number that may be divided by; None for any other."""
    return number if number is not None and 0.0 < number < math.inf else None


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """A situation, what can be relied on in it, and what was asked for."""

    situation: Situation
    before: int
    """The floor as it stands: the target's own in Auto, the one that we would hold in Recommend."""
    inputs: TrustedInputs
    pause: Pause
    strongest: Recommendation
    outage: bool
    suppressed: bool
    """An event suppresses the forecast over all of the window: a person expects demand, and metrics, to vanish."""
    fallback_may_lower: bool
    """In fallback, with a floor that the policy names for it: data are not needed to go there."""


def current_floor(situation: Situation) -> int:
    """The floor as it stands. In Auto it is what the target says, so that our missed or lost writes heal.

    Recommend starts from the target's real minimum and then goes by its own floor.
    """
    from_memory = situation.state.floor
    writes = situation.policy.spec.mode is Mode.AUTO
    return situation.observed.minimum if writes or from_memory is None else from_memory
