"""Status of a ScalingPolicy and of a BusinessEvent. Decimals are strings, as in the spec."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from predictive_scaling.resources.conditions import MAX_CONDITIONS, Conditions, Message, Timestamp, read_conditions
from predictive_scaling.resources.learned_status import LearnedStatus, Length
from predictive_scaling.resources.part import Part, StatusPart, fitted_to
from predictive_scaling.resources.quantities import DecimalBetween
from predictive_scaling.resources.regressor import MAX_REGRESSORS, is_empty
from predictive_scaling.resources.scaling_decision import (
    MAX_DEMAND_LENGTH,
    MAX_TARGET_LENGTH,
    MAX_TEXT_LENGTH,
    Demand,
    Replicas,
    Text,
)
from predictive_scaling.resources.shadow_status import ShadowStatus
from predictive_scaling.resources.vocabulary import EventPhase, GroupField, HeadroomMethod, Mode, RegressorState, Source

MAX_POINTS = 24
MAX_SUMMARY_LENGTH = 63
MAX_OBSERVED = 10

Summary = Annotated[str, Field(max_length=MAX_SUMMARY_LENGTH), fitted_to(MAX_SUMMARY_LENGTH)]
Ratio = Annotated[float | None, DecimalBetween("0", "999999", optional=True, clamps=True)]
Factor = Annotated[float, DecimalBetween("0", "1000000", clamps=True)]


Status = TypeVar("Status", bound=StatusPart)


class ForecastPoint(StatusPart):
    """The forecast for one point in time."""

    time: Timestamp
    """Time of the point."""

    p50: Demand
    """Median of the forecast demand."""

    p90: Demand
    """0.9 quantile of the forecast demand."""


class RegressorStatus(StatusPart):
    """What becomes of a leading indicator."""

    service: Text
    """service_name of its samples."""

    metric: Text
    """metric_name of its samples."""

    state: RegressorState
    """InUse: part of the forecast. Waiting: not judged yet. Rejected: does not improve the forecasts of the last days.
    Stale: its samples are missing or late, and the forecast without it is in use."""

    runs_ahead: Length | None = None
    """Time by which it runs ahead of demand, as found on the last days."""

    message: Message = ""
    """Why, with the numbers."""


class ForecastStatus(StatusPart):
    """The forecast in use."""

    model: Text
    """Name of the model."""

    version: Text = ""
    """Version of the model."""

    generated_at: Timestamp
    """Time at which it was made."""

    valid_until: Timestamp
    """Time from which it is no longer used."""

    summary: Summary = ""
    """Peak demand over the lead time at the chosen quantile, such as "812 (p90)". Shown in the column FORECAST."""

    points: Annotated[tuple[ForecastPoint, ...], Field(max_length=MAX_POINTS)] = ()
    """At most 24 points; the database and the HTTP API have all of them."""

    regressors: Annotated[tuple[RegressorStatus, ...], Field(max_length=MAX_REGRESSORS, exclude_if=is_empty)] = ()
    """The leading indicators of spec.forecast.regressors, and whether they are in use."""


class AccuracyStatus(StatusPart):
    """Accuracy of recent forecasts, as ratios."""

    wape: Ratio = None
    """Sum of absolute errors divided by the sum of demand."""

    mape: Ratio = None
    """Mean of absolute errors relative to demand."""

    coverage: Ratio = None
    """Share of points at which demand was at or below the quantile that the floor covered."""

    quantile: Ratio = None
    """Quantile that the floor covers, configured or chosen from prices. Coverage should be close to it."""

    window: Length | None = None
    """Time over which accuracy was measured."""


class LastDecision(StatusPart):
    """The most recent decision."""

    name: Text
    """Name of the ScalingDecision."""

    at: Timestamp
    """Time of the decision."""

    summary: Summary
    """Change and phase, such as "4->9 Succeeded". Shown in the column LAST DECISION."""


class Advice(StatusPart):
    """Setting that would cost less."""

    quantile: Annotated[float | None, DecimalBetween("0", "1", optional=True, clamps=True)] = None
    """Quantile that would have been sufficient."""

    target_utilization: Annotated[int | None, Field(ge=1, le=100)] = None
    """Target utilization that the target's autoscaler could have with this policy."""

    replica_hours_saved: Annotated[float | None, DecimalBetween("0", "999999999", optional=True, clamps=True)] = None
    """Replica-hours that this would have saved over the last days."""

    message: Message = ""
    """The advice in a sentence."""


class NodeHeadroomStatus(StatusPart):
    """Spare capacity on nodes for the next raise."""

    replicas: Replicas
    """Number of replicas, beyond those of the target, that need headroom: what is forecast a node's start time later
    than the floor covers. Computed only in mode Recommend."""

    method: HeadroomMethod | None = None
    """CapacityBuffer or Placeholders, as in use; unset while nothing is reserved."""

    ready: Replicas | None = None
    """Number of replicas whose headroom exists."""

    message: Message | None = None
    """Why the headroom does not exist, and what to do; unset if it does."""


class TakenGroup(StatusPart):
    """The Auto Scaling group that was taken over."""

    name: Annotated[str, Field(max_length=255)]
    """Name of the group."""

    region: Annotated[str, Field(max_length=25)]
    """AWS region of the group."""

    role_arn: Annotated[str | None, Field(max_length=512)] = None
    """IAM role that was assumed; without it the operator's own AWS credentials."""

    field: GroupField
    """Field that was written: MinSize or DesiredCapacity."""


class Takeover(StatusPart):
    """The target's minimum before the take-over. It is restored when the policy is deleted or leaves Auto."""

    target_uid: Text
    """uid of the target that was taken over; a re-created target has another."""

    original_minimum: Replicas
    """The target's original minimum."""

    since: Timestamp
    """Time of the take-over."""

    written: bool = False
    """Whether the operator may have written a minimum; from then on a foreign write is a conflict."""

    taken_from: Annotated[str | None, Field(max_length=253)] = None
    """Field manager whose value the operator's first write replaces, until that write is confirmed."""

    generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the policy that was last acted on."""

    resume: Annotated[str | None, Field(max_length=MAX_TEXT_LENGTH), fitted_to(MAX_TEXT_LENGTH)] = None
    """Value of the annotation predictive-scaling.io/resume that was last acted on; a hash if it is longer than 253
    characters."""

    floor: Replicas | None = None
    """Minimum that the operator last wrote to a target whose API does not record the writer, such as an Auto Scaling
    group; another value there is a foreign write."""

    replaces: Replicas | None = None
    """Minimum that this write replaces, until the write is confirmed."""

    auto_scaling_group: TakenGroup | None = None
    """The group that was taken over, if the target is an Auto Scaling group."""


class ScalingPolicyStatus(StatusPart):
    """Observed state of the policy and its target."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the spec that this status describes."""

    mode: Mode | None = None
    """Mode in effect."""

    target: Annotated[str | None, Field(max_length=MAX_TARGET_LENGTH), fitted_to(MAX_TARGET_LENGTH)] = None
    """Target, such as hpa/checkout."""

    current_replicas: Replicas | None = None
    """Current number of replicas of the target."""

    ready_replicas: Replicas | None = None
    """Number of ready replicas of the target."""

    floor: Replicas | None = None
    """Floor in replicas: written to the target in mode Auto, computed only in mode Recommend."""

    uncapped_floor: Replicas | None = None
    """Recommended floor before limits."""

    source: Source | None = None
    """Source of the floor."""

    forecast: ForecastStatus | None = None
    """The forecast in use."""

    accuracy: AccuracyStatus | None = None
    """Accuracy of recent forecasts, as ratios."""

    lead_time: Length | None = None
    """Time from raising the floor to ready replicas, configured or measured."""

    per_replica: Annotated[float | None, DecimalBetween("0", MAX_DEMAND_LENGTH, optional=True, clamps=True)] = None
    """Demand that one ready replica serves, configured or learned."""

    last_decision: LastDecision | None = None
    """The most recent decision."""

    advice: Advice | None = None
    """Setting that would cost less."""

    learned: LearnedStatus | None = None
    """What was learned about the target: lead time and capacity of a replica, with their numbers of samples."""

    node_headroom: NodeHeadroomStatus | None = None
    """Spare capacity on nodes for the next raise; unset if the policy does not request it."""

    shadow: ShadowStatus | None = None
    """What Auto would have done over the last seven days, against what happened. In mode Recommend only."""

    takeover: Takeover | None = None
    """The target's minimum before the take-over."""

    conditions: Conditions = ()
    """Ready, MetricsFresh, ForecastReady, ScalingActive, ScalingLimited, Fallback, Paused, Verified, Conflict and
    Stalled. All are present from the first reconciliation on."""


class Learned(Part):
    """Effect of earlier events of the same type on demand."""

    multiplier: Factor
    """Mean multiplier of demand."""

    low: Factor
    """Lowest multiplier observed."""

    high: Factor
    """Highest multiplier observed."""

    samples: Annotated[int, Field(ge=0)]
    """Number of events that it was learned from."""


class ObservedMultiplier(StatusPart):
    """Effect of the current or last occurrence on the demand of a policy."""

    policy: Text
    """Name of the ScalingPolicy."""

    multiplier: Factor
    """Highest multiplier of demand over ten minutes so far, relative to the forecast made before the event."""

    until: Timestamp
    """End of these ten minutes."""


class BusinessEventStatus(StatusPart):
    """Observed state of the event."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the spec that this status describes."""

    phase: EventPhase | None = None
    """Scheduled, RampingUp, Active, RampingDown or Finished."""

    next_start: Timestamp | None = None
    """Next start of the event."""

    matched_policies: Annotated[int | None, Field(ge=0)] = None
    """Number of ScalingPolicies that it selects."""

    learned: Learned | None = None
    """Effect of earlier events of the same type on demand."""

    observed: Annotated[tuple[ObservedMultiplier, ...], Field(max_length=MAX_OBSERVED)] = ()
    """Observed multipliers of an event that declares one: of the policies with the highest, at most 10. Kept after the
    occurrence until the spec changes or the next occurrence is compared."""

    conditions: Conditions = ()
    """Ready, Stalled and MultiplierAccurate."""


def parse_policy_status(status: Mapping[str, Any]) -> ScalingPolicyStatus:
    """Return the status of a ScalingPolicy. Unknown fields are kept, invalid fields and conditions are omitted."""
    return parse_status(ScalingPolicyStatus, status)


def parse_event_status(status: Mapping[str, Any]) -> BusinessEventStatus:
    """Return the status of a BusinessEvent. Unknown fields are kept, invalid fields and conditions are omitted."""
    return parse_status(BusinessEventStatus, status)


def parse_status(kind: type[Status], status: Mapping[str, Any]) -> Status:
    """Return a status. Unknown fields are kept, invalid fields and conditions are omitted."""
    valid = {name: value for name, value in status.items() if name == "conditions" or _is_valid(kind, name, value)}
    return kind.model_validate(valid | {"conditions": read_conditions(status)[:MAX_CONDITIONS]})


def _is_valid(kind: type[Part], name: str, value: Any) -> bool:
    try:
        kind.model_validate({name: value})
    except ValidationError:
        return False
    return True
