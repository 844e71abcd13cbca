"""What a tuning is made from, and what comes of it: plain values, as they go to a child process and back."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from forecasting.scaling.frontier import Point, Prices
from forecasting.scaling.tuner import TunerState
from predictive_scaling.resources.scaling_policy import ScalingPolicySpec
from predictive_scaling.simulation.workload import LATE


class Span(msgspec.Struct, frozen=True):
    """Half-open."""

    start: datetime
    end: datetime


class Task(msgspec.Struct, frozen=True):
    """One policy and its last days.

    policy: its manifest. per_replica: demand that one replica serves at 100 %. hpa_target: what its autoscaler aims at,
    a fraction. maximum: of its target, where that has one. minutes: the demand of each minute from `begins_at` on, as
    float32 in the order of this machine, NaN where there was none. recorded: forecasts that were made, recent.RECORDED.
    unjudged: when an event acted. held: the quantile in use, where one was chosen before. advised: the target that was
    advised before.
    """

    policy: dict[str, Any]
    per_replica: float
    hpa_target: float
    maximum: int | None
    lead_time_seconds: float
    begins_at: datetime
    minutes: bytes
    recorded: bytes
    unjudged: tuple[Span, ...]
    now: datetime
    held: TunerState | None = None
    advised: float | None = None


class Tuning(msgspec.Struct, frozen=True, tag=True):
    """What a look back came to.

    since, until: the days that were looked back on. recorded_share: of their forecasts, those that were made live; the
    others are a naive model's. points: the frontier, over quantiles and targets. alone: the HPA without a floor at its
    present target (its quantile is 0). held: the quantile from now on; None where the policy states no prices.
    quantile: in use. advised: the target that is advised, or the present one. saved: by it, a share of replica-hours.
    hours_saved: the same in replica-hours over the days. message: the advice in a sentence.
    """

    since: datetime
    until: datetime
    recorded_share: float
    hpa_target: float
    prices: Prices | None
    points: tuple[Point, ...]
    hpa_only: Point
    held: TunerState | None
    quantile: float
    advised: float
    saved: float
    hours_saved: float
    message: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Why there is nothing to say."""

    reason: str


_BINS = (timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
_MAX_BINS = 36


def step_for(lead_time: timedelta) -> timedelta:
    """The bins in which a policy is looked back on: as wide as its forecasts have to be to reach its lead time."""
    return next((step for step in _BINS if _MAX_BINS * step >= LATE + lead_time + 2 * step), _BINS[-1])


def reach_for(lead_time: timedelta) -> int:
    """How many of these bins a floor looks ahead."""
    step = step_for(lead_time)
    return min(_MAX_BINS, -(-(LATE + lead_time + 2 * step) // step))


TASKS = msgspec.msgpack.Decoder(list[Task])
FOUND = msgspec.msgpack.Decoder(list[Tuning | Failed])
ENCODE = msgspec.msgpack.Encoder().encode


def prices_of(spec: ScalingPolicySpec) -> Prices | None:
    """What the policy says that being short and a replica cost; None where it states a quantile."""
    objective = spec.forecast.objective
    return None if objective is None else Prices(objective.under_provisioned_minute, objective.replica_hour)
