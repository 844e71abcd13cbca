"""ScalingDecision: the record of one change of a floor, applied or recommended."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

from forecasting.series import MAX_DEMAND
from predictive_scaling.resources.conditions import Conditions, Message, Timestamp
from predictive_scaling.resources.metadata import Metadata
from predictive_scaling.resources.part import Part, fitted_to, read
from predictive_scaling.resources.quantities import DecimalBetween, format_decimal
from predictive_scaling.resources.regressor import SeriesName
from predictive_scaling.resources.vocabulary import (
    DecisionPhase,
    DecisionType,
    FailureCause,
    Limit,
    Mode,
    Reason,
    Source,
)

MAX_TEXT_LENGTH = 253
MAX_TARGET_LENGTH = 320
MAX_TARGET_REPLICAS = 2**31 - 1
"""Maximum of the scale subresource; a target may have more replicas than a policy allows."""
MAX_DEMAND_LENGTH = f"{Decimal(str(MAX_DEMAND)):f}"
_MAX_EFFECT = 999_999.0


def _clamped(replicas: Any, info: ValidationInfo) -> Any:
    return min(max(replicas, 0), MAX_TARGET_REPLICAS) if info.mode == "python" and type(replicas) is int else replicas


def effect_of(ratio: float) -> str | None:
    """Return the effect of a contribution as it is recorded; None if it is not a number.

    >>> effect_of(0.21), effect_of(-0.05), effect_of(1e300)
    ('0.21', '-0.05', '999999')
    """
    return None if math.isnan(ratio) else format_decimal(min(max(ratio, -_MAX_EFFECT), _MAX_EFFECT))


Replicas = Annotated[int, Field(ge=0, le=MAX_TARGET_REPLICAS), BeforeValidator(_clamped)]
Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH), fitted_to(MAX_TEXT_LENGTH)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH), fitted_to(MAX_TEXT_LENGTH)]
Demand = Annotated[float, DecimalBetween("0", MAX_DEMAND_LENGTH, clamps=True)]
"""Demand in the unit of the metric, limited to the highest recordable value."""


class Contribution(Part):
    """One contribution to a forecast."""

    feature: Word
    """Feature, such as demand of the last 30 minutes."""

    effect: Annotated[str | None, Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?$")] = None
    """Effect on the forecast as a ratio: "0.21" raised it by 21 %, "-0.05" lowered it by 5 %. Absent if the model gives
    none."""


class DecisionForecast(Part):
    """The forecast value that the floor was computed from."""

    at: Timestamp
    """Time that the value is forecast for."""

    quantile: Annotated[float, DecimalBetween("0", "1", clamps=True)]
    """Quantile of the value."""

    value: Demand
    """Forecast demand, in the unit of the metric."""

    model: Word
    """Name of the model."""

    version: Text = ""
    """Version of the model."""

    contributions: Annotated[tuple[Contribution, ...], Field(max_length=10)] = ()
    """Strongest contributions to the forecast, strongest first."""


class ScalingDecisionSpec(Part):
    """The decision and its reason. Immutable."""

    policy: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the ScalingPolicy."""

    policy_generation: Annotated[int, Field(ge=0)] = 0
    """metadata.generation of the ScalingPolicy at the time of the decision."""

    decided_at: Timestamp | None = None
    """Time of the decision, by the operator's clock."""

    service: SeriesName
    """service_name of the demand."""

    target: Annotated[str, Field(min_length=1, max_length=MAX_TARGET_LENGTH), fitted_to(MAX_TARGET_LENGTH)]
    """Target, such as hpa/checkout."""

    type: DecisionType
    """ScaleUp or ScaleDown."""

    from_: Annotated[Replicas, Field(alias="from")]
    """Floor before the decision, in replicas."""

    to: Replicas
    """Floor after the decision, in replicas."""

    uncapped: Replicas
    """Recommended floor before limits, in replicas."""

    mode: Mode
    """Mode of the policy. With Recommend nothing was written."""

    source: Source
    """Source of the recommendation that prevailed."""

    reason: Reason
    """Reason in one word."""

    message: Message = ""
    """Reason in a sentence."""

    forecast: DecisionForecast | None = None
    """Forecast that the decision was made from, if any."""

    limits: Annotated[tuple[Limit, ...], Field(max_length=len(Limit))] = ()
    """Rules that limited the recommendation, in order of application."""

    event: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    """Name of the BusinessEvent that the decision was made from, if any."""


class ScalingDecisionStatus(Part):
    """Progress of the decision."""

    phase: DecisionPhase | None = None
    """Pending, Executing, Verifying, and then one of Succeeded, Failed, RolledBack, Recommended, Superseded,
    Cancelled."""

    started_at: Timestamp | None = None
    """Time of the first attempt."""

    finished_at: Timestamp | None = None
    """Time at which the final phase was reached."""

    message: Message = ""
    """Outcome in a sentence."""

    cause: FailureCause | None = None
    """Cause of Failed or RolledBack in one word."""

    attempts: Annotated[int, Field(ge=0)] = 0
    """Number of attempts."""

    conditions: Conditions = ()
    """Condition Succeeded: Unknown until verified, then True or False."""


class ScalingDecision(Part):
    """The record of one change of a floor, applied or recommended. Written by the operator only."""

    model_config = Part.model_config | {"extra": "ignore"}

    metadata: Metadata
    spec: ScalingDecisionSpec
    status: ScalingDecisionStatus = Field(default_factory=ScalingDecisionStatus)


def parse_decision(body: Mapping[str, Any]) -> ScalingDecision:
    """Return the typed ScalingDecision of a manifest.

    Raises InvalidManifestError with each invalid field, its value and what is allowed.
    """
    return read(ScalingDecision, body)
