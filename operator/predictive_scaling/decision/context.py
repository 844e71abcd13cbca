"""Which inputs of a decision can be trusted (semantics 8, 9, 11, 15). Missing data never counts as zero demand."""

import math
from dataclasses import dataclass
from datetime import datetime

from forecasting.forecast import Forecast
from predictive_scaling.decision.inputs import ForecastSource, Pause, RaiseHold, Recommendation, Situation
from predictive_scaling.decision.peak_demand import reaches
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.vocabulary import Mode


@dataclass(frozen=True, slots=True)
class TrustedInputs:
    """The data of a situation without stale, expired and invalid values."""

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
        """Whether a floor may be lowered: current demand, a forecast and the capacity of a replica are all known."""
        return self.demand is not None and self.forecast is not None and self.per_replica is not None


def assess_inputs(situation: Situation, window: Span) -> TrustedInputs:
    """The inputs that can be trusted for the window ahead."""
    demand = trusted_demand(situation)
    current = situation.current_forecast
    usable = current is not None and situation.now < current.valid_until and reaches(current.forecast, window)
    return TrustedInputs(
        demand=demand,
        demand_at=situation.demand.at if situation.demand and demand is not None else None,
        forecast=current.forecast if current and usable else None,
        source=current.source if current and usable else None,
        per_replica=positive(situation.per_replica),
        no_forecast_since=None if usable else situation.state.no_forecast_since or situation.now,
    )


def trusted_demand(situation: Situation) -> float | None:
    """The newest demand; None where it is stale or not a plausible value."""
    demand = situation.demand
    if demand is None or situation.now - demand.at > situation.metrics_max_age:
        return None
    if not 0.0 <= demand.value < math.inf:
        return None
    if demand.value == 0.0 and not situation.policy.spec.demand.zero_is_valid:
        return None
    return demand.value


def positive(number: float | None) -> float | None:
    """The number where it is positive and finite; None otherwise."""
    return number if number is not None and 0.0 < number < math.inf else None


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """The input of each rule of a decision: the situation, its trusted inputs and the strongest recommendation."""

    situation: Situation
    before: int
    """The current floor: the target's own in Auto, the recommended one in Recommend."""
    inputs: TrustedInputs
    pause: Pause
    strongest: Recommendation
    outage: bool
    suppressed: bool
    """An event suppresses the forecast over the entire window: low demand and missing metrics are expected."""
    fallback_may_lower: bool
    """The fallback is active and names a floor, which needs no data."""


def active_hold(situation: Situation) -> RaiseHold | None:
    """The hold of a raise that did harm, while its back-off lasts; None otherwise."""
    hold = situation.raise_hold
    return hold if hold is not None and situation.now < hold.until else None


def current_floor(situation: Situation) -> int:
    """The floor before the decision.

    In Auto it is read from the target, so that lost writes are repaired. Recommend starts with the target's minimum and
    then continues with its own recommended floor.
    """
    held = situation.state.floor
    writes = situation.policy.spec.mode is Mode.AUTO
    return situation.observed.minimum if writes or held is None else held
