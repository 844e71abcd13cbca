"""What the operator tells in the status of a ScalingPolicy and of a BusinessEvent. Decimals are strings there too."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from predictive_scaling.resources.conditions import Conditions, Message, Timestamp
from predictive_scaling.resources.part import Part, fitted_to
from predictive_scaling.resources.quantities import DecimalBetween, DurationBetween
from predictive_scaling.resources.scaling_decision import (
    MAX_DEMAND_LENGTH,
    MAX_TARGET_LENGTH,
    MAX_TEXT_LENGTH,
    Demand,
    Replicas,
    Text,
)
from predictive_scaling.resources.vocabulary import EventPhase, Mode, Source

MAX_POINTS = 24
MAX_SUMMARY_LENGTH = 63

Summary = Annotated[str, Field(max_length=MAX_SUMMARY_LENGTH), fitted_to(MAX_SUMMARY_LENGTH)]
Ratio = Annotated[float | None, DecimalBetween("0", "999999", optional=True, clamps=True)]
Factor = Annotated[float, DecimalBetween("0", "1000000", clamps=True)]
Length = Annotated[timedelta, DurationBetween("0s", "9999h", clamps=True)]


class ForecastPoint(Part):
    """The forecast for one moment."""

    time: Timestamp
    """The moment that it is for."""

    p50: Demand
    """Demand that is exceeded half of the time."""

    p90: Demand
    """Demand that is exceeded a tenth of the time."""


class ForecastStatus(Part):
    """The forecast in use."""

    model: Text
    """The model that made it."""

    version: Text = ""
    """The model's version."""

    generated_at: Timestamp
    """When it was made."""

    valid_until: Timestamp
    """It is not used from this moment on."""

    summary: Summary = ""
    """The highest demand of the chosen quantile from now until a raise of the floor would take effect, with its
    quantile, such as "812 (p90)". The column FORECAST."""

    points: Annotated[tuple[ForecastPoint, ...], Field(max_length=MAX_POINTS)] = ()
    """At most 24 points of it; all of them are in the database and the HTTP API."""


class AccuracyStatus(Part):
    """How good the forecasts were. Ratios, not percents."""

    wape: Ratio = None
    """Sum of the absolute errors over the sum of the demand."""

    mape: Ratio = None
    """Mean of each absolute error over its demand."""

    coverage: Ratio = None
    """Share of moments in which demand stayed at or below the quantile that the floor covered at the time."""

    quantile: Ratio = None
    """The quantile that the floor covers: the policy's, or the one chosen for its prices. Coverage should equal it."""

    window: Length | None = None
    """The time that this was measured over."""


class LastDecision(Part):
    """The newest decision."""

    name: Text
    """Name of the ScalingDecision."""

    at: Timestamp
    """When it was decided."""

    summary: Summary
    """What it changed, such as "4->9 Succeeded". The column LAST DECISION."""


class Advice(Part):
    """What would cost less."""

    quantile: Annotated[float | None, DecimalBetween("0", "1", optional=True, clamps=True)] = None
    """A quantile that would have sufficed."""

    target_utilization: Annotated[int | None, Field(ge=1, le=100)] = None
    """A target utilization that the policy allows the target's autoscaler."""

    replica_hours_saved: Annotated[float | None, DecimalBetween("0", "999999999", optional=True, clamps=True)] = None
    """Replica-hours that would have been saved over the last days."""

    message: Message = ""
    """The advice in a sentence."""


class Takeover(Part):
    """What the target's minimum was before the operator came: it is put back when the policy goes or leaves Auto."""

    # What a later release added must not make this one forget what to restore.
    model_config = Part.model_config | {"extra": "ignore"}

    target_uid: Text
    """uid of the target that was taken over; a re-created target is another."""

    original_minimum: Replicas
    """The target's minimum then."""

    since: Timestamp
    """When it was taken over."""

    written: bool = False
    """Whether a minimum of ours may have been written to it: from then on a foreign write is a conflict."""

    taken_from: Annotated[str | None, Field(max_length=253)] = None
    """Whose write of the minimum the first write of ours replaces, until that is known to have been made."""

    generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the policy that was acted on last."""

    resume: Annotated[str | None, Field(max_length=MAX_TEXT_LENGTH), fitted_to(MAX_TEXT_LENGTH)] = None
    """The value of the annotation predictive-scaling.io/resume that was acted on last; a hash of one that is longer
    than 253 characters."""


class ScalingPolicyStatus(Part):
    """What the operator found and did at its last visit."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the spec that this status is about."""

    mode: Mode | None = None
    """The mode that was acted by."""

    target: Annotated[str | None, Field(max_length=MAX_TARGET_LENGTH), fitted_to(MAX_TARGET_LENGTH)] = None
    """What is scaled, such as hpa/checkout."""

    current_replicas: Replicas | None = None
    """Replicas that the target has."""

    ready_replicas: Replicas | None = None
    """Replicas of them that are ready."""

    floor: Replicas | None = None
    """The floor: written to the target in mode Auto, only computed in mode Recommend."""

    uncapped_floor: Replicas | None = None
    """The floor that was wanted before any limit."""

    source: Source | None = None
    """Which wish the floor comes from."""

    forecast: ForecastStatus | None = None
    """The forecast in use."""

    accuracy: AccuracyStatus | None = None
    """How good the forecasts were. Ratios, not percents."""

    lead_time: Length | None = None
    """From raising the floor to ready replicas: as configured, or as measured."""

    per_replica: Annotated[float | None, DecimalBetween("0", MAX_DEMAND_LENGTH, optional=True, clamps=True)] = None
    """What one ready replica serves: as configured, or as learned."""

    last_decision: LastDecision | None = None
    """The newest decision."""

    advice: Advice | None = None
    """What would cost less."""

    takeover: Takeover | None = None
    """What the target's minimum was before the operator came."""

    conditions: Conditions = ()
    """Ready, MetricsFresh, ForecastReady, ScalingActive, ScalingLimited, Fallback, Paused, Verified, Conflict and
    Stalled: all of them from the first visit on."""


class Learned(Part):
    """What earlier events of the type did to demand."""

    multiplier: Factor
    """What demand was multiplied by."""

    low: Factor
    """Lower end of the multipliers seen."""

    high: Factor
    """Upper end of the multipliers seen."""

    samples: Annotated[int, Field(ge=0)]
    """How many events it was learned from."""


class BusinessEventStatus(Part):
    """Where the event stands."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the spec that this status is about."""

    phase: EventPhase | None = None
    """Scheduled, RampingUp, Active, RampingDown or Finished."""

    next_start: Timestamp | None = None
    """When it starts, or starts next."""

    matched_policies: Annotated[int | None, Field(ge=0)] = None
    """How many ScalingPolicies it is for."""

    learned: Learned | None = None
    """What earlier events of the type did to demand."""

    conditions: Conditions = ()
    """Ready and Stalled."""
