"""From what was seen to the numbers that are compared. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
JUDGED_AHEAD = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Twin:
    """One Deployment and its HPA, as the API server showed them."""

    existing: int
    """Pods that exist, ready or not: what is paid for."""
    ready: int
    minimum: int
    """The HPA's minReplicas."""


@dataclass(frozen=True, slots=True)
class Band:
    """What is forecast for a moment, in the unit of the demand."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Observation:
    """The live objects at a moment."""

    at: datetime
    demand: float
    hpa_only: Twin
    predictive: Twin


@dataclass(frozen=True, slots=True)
class Performance:
    """How one twin did."""

    under_provisioned_minutes: float
    """Time in which the ready replicas could not carry the demand."""
    replica_hours: float
    """Pods that existed, ready or not, times hours."""
    unserved: float
    """Demand beyond what the ready replicas carried, in its unit times minutes: requests, for requests a minute."""


@dataclass(frozen=True, slots=True)
class ForecastQuality:
    """None where no forecast was made 15 minutes ahead of a moment of the window."""

    wape_15m: float | None
    coverage_p90: float | None


@dataclass(frozen=True, slots=True)
class DemoComparison:
    """Both twins over the same time."""

    hpa_only: Performance
    predictive: Performance

    @property
    def hours_ratio(self) -> float:
        """Replica-hours of the predictive twin for one of the other's."""
        return self.predictive.replica_hours / self.hpa_only.replica_hours


def compare(observations: Sequence[Observation], ends_at: datetime, per_replica: float) -> DemoComparison:
    """Both twins from the first observation to `ends_at`; each observation stands until the next one.

    observations: at least one, in the order of time.
    """
    return DemoComparison(
        performance(observations, ends_at, per_replica, lambda seen: seen.hpa_only),
        performance(observations, ends_at, per_replica, lambda seen: seen.predictive),
    )


def performance(
    observations: Sequence[Observation], ends_at: datetime, per_replica: float, twin: Callable[[Observation], Twin]
) -> Performance:
    """One twin; see `compare`."""
    short_minutes = hours = unserved = 0.0
    until = [*(seen.at for seen in observations[1:]), ends_at]
    for seen, end in zip(observations, until, strict=True):
        span = max(timedelta(), end - seen.at)
        shortfall = seen.demand - twin(seen).ready * per_replica
        if shortfall > 0:
            short_minutes += span / MINUTE
            unserved += shortfall * (span / MINUTE)
        hours += twin(seen).existing * (span / HOUR)
    return Performance(short_minutes, hours, unserved)


def forecast_quality(forecasts: Sequence[tuple[Band, float]]) -> ForecastQuality:
    """Errors of forecasts that were made 15 minutes ahead, each with the demand that came, NaN where unknown.

    WAPE: sum of absolute errors of p50 over the sum of actuals. Coverage: the share of actuals at or below p90.
    """
    known = [(band, actual) for band, actual in forecasts if math.isfinite(actual)]
    total = sum(actual for _, actual in known)
    if total <= 0:
        return ForecastQuality(None, None)
    error = sum(abs(band.p50 - actual) for band, actual in known)
    return ForecastQuality(error / total, sum(actual <= band.p90 for band, actual in known) / len(known))
