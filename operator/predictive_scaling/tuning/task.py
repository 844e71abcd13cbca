"""Input and result of a tuning: plain values that are sent to a child process and back."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from forecasting.scaling.frontier import Point, Prices
from forecasting.scaling.tuner import TunerState
from predictive_scaling.resources.scaling_policy import ScalingPolicySpec
from predictive_scaling.simulation.workload import METRIC_DELAY


class Span(msgspec.Struct, frozen=True):
    """The half-open span [start, end)."""

    start: datetime
    end: datetime


class Task(msgspec.Struct, frozen=True):
    """A policy and its last days.

    policy: its manifest. per_replica: demand that one replica serves at 100 % utilization. hpa_target: utilization
    target of its HPA, a fraction. maximum: of its target, if that has one. minutes: the demand of each minute from
    `begins_at` on, as float32 in native byte order, NaN for missing minutes. recorded: recorded forecasts, as
    recent.RECORDED. unjudged: the spans in which an event acted. tuner_state: the quantile in use, if one was chosen
    before. advised: the HPA target that was advised before.
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
    tuner_state: TunerState | None = None
    advised: float | None = None


class Tuning(msgspec.Struct, frozen=True, tag=True):
    """The result of a tuning.

    since, until: the days that were evaluated. recorded_share: share of the forecasts that were made live; the others
    are those of a naive model. points: the frontier, over quantiles and targets. hpa_only: the HPA without a floor at
    its current target (its quantile is 0). tuner_state: the quantile from now on; None if the policy states no prices.
    quantile: in use. advised: the advised HPA target, or the current target. saved: saving of the advice as a share of
    replica-hours. hours_saved: the same in replica-hours over the days. message: the advice in one sentence.
    """

    since: datetime
    until: datetime
    recorded_share: float
    hpa_target: float
    prices: Prices | None
    points: tuple[Point, ...]
    hpa_only: Point
    tuner_state: TunerState | None
    quantile: float
    advised: float
    saved: float
    hours_saved: float
    message: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A tuning that failed. reason: why, in one sentence."""

    reason: str


_STEPS = (timedelta(minutes=5), timedelta(minutes=15), timedelta(hours=1))
_MAX_BINS = 36


def step_for(lead_time: timedelta) -> timedelta:
    """Return the bin width of a tuning: wide enough that forecasts of _MAX_BINS bins cover the lead time."""
    return next((step for step in _STEPS if _MAX_BINS * step >= METRIC_DELAY + lead_time + 2 * step), _STEPS[-1])


def reach_for(lead_time: timedelta) -> int:
    """Return how many of these bins a floor looks ahead."""
    step = step_for(lead_time)
    return min(_MAX_BINS, -(-(METRIC_DELAY + lead_time + 2 * step) // step))


TASK_DECODER = msgspec.msgpack.Decoder(list[Task])
RESULT_DECODER = msgspec.msgpack.Decoder(list[Tuning | Failed])
ENCODE = msgspec.msgpack.Encoder().encode


def prices_of(spec: ScalingPolicySpec) -> Prices | None:
    """Return the prices of the policy for a minute short and a replica-hour; None if it states a quantile."""
    objective = spec.forecast.objective
    return None if objective is None else Prices(objective.under_provisioned_minute, objective.replica_hour)
