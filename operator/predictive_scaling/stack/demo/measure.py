"""Computes the compared numbers from the observations. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
EVALUATED_AHEAD = timedelta(minutes=15)
_EVALUATION_WINDOW = timedelta(minutes=5)
"""A forecast is recorded every five minutes."""


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A Deployment and its HPA, as read from the API server."""

    existing: int
    """Pods that exist, ready or not: these are paid for."""
    ready: int
    minimum: int
    """The HPA's minReplicas."""


@dataclass(frozen=True, slots=True)
class Band:
    """Forecast quantiles for a moment, in the unit of the demand."""

    p50: float
    p90: float


@dataclass(frozen=True, slots=True)
class Observation:
    """Demand and the state of both Deployments at a moment."""

    at: datetime
    demand: float
    hpa_only: DeploymentState
    predictive: DeploymentState


@dataclass(frozen=True, slots=True)
class Performance:
    """Capacity and cost of one Deployment during the replay."""

    under_provisioned_minutes: float
    """Minutes in which the ready replicas could not serve the demand."""
    replica_hours: float
    """Pods that existed, ready or not, times hours."""
    unserved: float
    """Demand beyond the capacity of the ready replicas, in its unit times minutes: requests, for requests a minute."""


@dataclass(frozen=True, slots=True)
class ForecastQuality:
    """None where no forecast was made 15 minutes ahead of a moment of the window."""

    wape_15m: float | None
    coverage_p90: float | None


@dataclass(frozen=True, slots=True)
class DemoComparison:
    """The performance of both Deployments during the same time."""

    hpa_only: Performance
    predictive: Performance

    @property
    def hours_ratio(self) -> float:
        """Replica-hours of the predictive Deployment divided by those of the baseline."""
        return self.predictive.replica_hours / self.hpa_only.replica_hours


def compare(observations: Sequence[Observation], ends_at: datetime, per_replica: float) -> DemoComparison:
    """Compare both Deployments from the first observation to `ends_at`; each observation is valid until the next.

    observations: at least one, in the order of time.
    """
    return DemoComparison(
        performance(observations, ends_at, per_replica, lambda observation: observation.hpa_only),
        performance(observations, ends_at, per_replica, lambda observation: observation.predictive),
    )


def performance(
    observations: Sequence[Observation],
    ends_at: datetime,
    per_replica: float,
    state_of: Callable[[Observation], DeploymentState],
) -> Performance:
    """The performance of one Deployment; see `compare`."""
    short_minutes = hours = unserved = 0.0
    until = [*(observation.at for observation in observations[1:]), ends_at]
    for observation, end in zip(observations, until, strict=True):
        span = max(timedelta(), end - observation.at)
        shortfall = observation.demand - state_of(observation).ready * per_replica
        if shortfall > 0:
            short_minutes += span / MINUTE
            unserved += shortfall * (span / MINUTE)
        hours += state_of(observation).existing * (span / HOUR)
    return Performance(short_minutes, hours, unserved)


def is_evaluated(created_at: datetime, target_time: datetime) -> bool:
    """Whether a forecast was made 15 minutes ahead, at most one recorded forecast earlier.

    A target time that only one forecast has, because the bins of the others start at other minutes, may have been
    forecast hours ahead.
    """
    return EVALUATED_AHEAD <= target_time - created_at < EVALUATED_AHEAD + _EVALUATION_WINDOW


def forecast_quality(forecasts: Sequence[tuple[Band, float]]) -> ForecastQuality:
    """Errors of forecasts that were made 15 minutes ahead, each with the actual demand, NaN where unknown.

    WAPE: sum of absolute errors of p50 over the sum of actuals. Coverage: the share of actuals at or below p90.
    """
    known = [(band, actual) for band, actual in forecasts if math.isfinite(actual)]
    total = sum(actual for _, actual in known)
    if total <= 0:
        return ForecastQuality(None, None)
    error = sum(abs(band.p50 - actual) for band, actual in known)
    return ForecastQuality(error / total, sum(actual <= band.p90 for band, actual in known) / len(known))
