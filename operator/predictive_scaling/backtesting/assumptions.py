"""What a backtest assumes about the target, and where each value comes from."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Generic, NamedTuple, TypeVar

import msgspec

from forecasting.series import Series
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.simulation.scenario import bounded
from predictive_scaling.simulation.workload import learned_capacity

DEFAULT_LEAD_TIME = timedelta(minutes=3)
_STATED, _IN_USE, _OF_TARGET, _DEFAULT = "as stated", "in use by the operator", "of the target", "the default"

Value = TypeVar("Value")


class LiveValues(msgspec.Struct, frozen=True):
    """What the operator uses for a policy, and what its target states. None: unknown, or stated elsewhere.

    hpa_target: a fraction. maximum: in replicas.
    """

    lead_time_seconds: float | None = None
    per_replica: float | None = None
    hpa_target: float | None = None
    maximum: int | None = None


UNKNOWN = LiveValues()


class Assumed(NamedTuple, Generic[Value]):
    """A value, and where it comes from in words; empty for a field of the policy with a default."""

    value: Value
    source: str


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a backtest assumes. hpa_target: a fraction. maximum: the lower one of policy and target, in replicas."""

    lead_time: Assumed[timedelta]
    per_replica: Assumed[float]
    hpa_target: Assumed[float]
    maximum: Assumed[int]


def assumptions_of(
    policy: ScalingPolicy, series: Series, split: float, lead_time: timedelta | None, live: LiveValues
) -> Assumptions:
    """Return the assumptions: what is stated, else what the operator uses, else a default.

    lead_time: overrides the policy's. split: share of the series from which an unknown capacity is learned.
    Raises InvalidTraceError if the capacity is unknown and there is no demand before the split.
    """
    hpa_target = _hpa_target(policy, live)
    return Assumptions(
        _lead_time(policy, lead_time, live),
        _per_replica(policy, live, series, split, hpa_target.value),
        hpa_target,
        _maximum(policy, live),
    )


def _lead_time(policy: ScalingPolicy, override: timedelta | None, live: LiveValues) -> Assumed[timedelta]:
    stated = policy.spec.forecast.lead_time if override is None else override
    if stated is not None:
        return Assumed(stated, _STATED)
    if live.lead_time_seconds is not None:
        return Assumed(timedelta(seconds=live.lead_time_seconds), _IN_USE)
    return Assumed(DEFAULT_LEAD_TIME, _DEFAULT)


def _per_replica(
    policy: ScalingPolicy, live: LiveValues, series: Series, split: float, hpa_target: float
) -> Assumed[float]:
    if policy.spec.demand.per_replica is not None:
        return Assumed(policy.spec.demand.per_replica, _STATED)
    if live.per_replica is not None:
        return Assumed(live.per_replica, _IN_USE)
    capacity = learned_capacity(_before_split(series, split), hpa_target)
    return Assumed(capacity, "the 99.9th percentile of the past needs 20")


def _hpa_target(policy: ScalingPolicy, live: LiveValues) -> Assumed[float]:
    if live.hpa_target is not None:
        return Assumed(live.hpa_target, _OF_TARGET)
    return Assumed(policy.spec.demand.target_utilization / 100, "")


def _maximum(policy: ScalingPolicy, live: LiveValues) -> Assumed[int]:
    maximum = bounded(policy, live.maximum).spec.replicas.max
    return Assumed(maximum, _OF_TARGET if maximum < policy.spec.replicas.max else "")


def _before_split(series: Series, split: float) -> Series:
    """The series before the split. Raises InvalidTraceError if it has no demand."""
    past = series.values[: round(len(series.values) * split)]
    if not (past > 0).any():
        raise InvalidTraceError(
            f"{series.name} has no demand before the split at {split:g}, from which the capacity of a replica could be "
            "learned; choose a later split, or state demand.perReplica in the policy"
        )
    return replace(series, values=past)
