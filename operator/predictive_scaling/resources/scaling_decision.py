"""ScalingDecision: the record of one change of a floor, made or recommended."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

from forecasting.series import MAX_DEMAND
from predictive_scaling.resources.conditions import Conditions, Message, Timestamp
from predictive_scaling.resources.metadata import Metadata, PolicyKey
from predictive_scaling.resources.part import Part, fitted_to, read
from predictive_scaling.resources.quantities import DecimalBetween, format_decimal
from predictive_scaling.resources.scaling_policy import SeriesName
from predictive_scaling.resources.vocabulary import DecisionPhase, DecisionType, Limit, Mode, Reason, Source

MAX_TEXT_LENGTH = 253
MAX_TARGET_LENGTH = 320
MAX_TARGET_REPLICAS = 2**31 - 1
"""What the scale subresource counts up to: a target may have more replicas than a policy may ask for."""
MAX_DEMAND_LENGTH = f"{Decimal(str(MAX_DEMAND)):f}"
_MAX_EFFECT = 999_999.0


def _counted(replicas: Any, info: ValidationInfo) -> Any:
    return min(max(replicas, 0), MAX_TARGET_REPLICAS) if info.mode == "python" and type(replicas) is int else replicas


def effect_of(ratio: float) -> str | None:
    """A contribution's effect as its record holds it; None for what is no number.

    >>> effect_of(0.21), effect_of(-0.05), effect_of(1e300)
    ('0.21', '-0.05', '999999')
    """
    return None if math.isnan(ratio) else format_decimal(min(max(ratio, -_MAX_EFFECT), _MAX_EFFECT))


Replicas = Annotated[int, Field(ge=0, le=MAX_TARGET_REPLICAS), BeforeValidator(_counted)]
Text = Annotated[str, Field(max_length=MAX_TEXT_LENGTH), fitted_to(MAX_TEXT_LENGTH)]
Word = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH), fitted_to(MAX_TEXT_LENGTH)]
Demand = Annotated[float, DecimalBetween("0", MAX_DEMAND_LENGTH, clamps=True)]
"""A demand in the metric's unit; what ingest accepts beyond it counts as the highest one."""


class Contribution(Part):
    """One reason behind a forecast."""

    feature: Word
    """What the forecast leans on, such as demand of the last 30 minutes."""

    effect: Annotated[str | None, Field(max_length=32, pattern=r"^-?[0-9]+(\.[0-9]+)?$")] = None
    """What it did to the forecast, a ratio: "0.21" raised it by 21 %, "-0.05" lowered it by 5 %. Missing where the
    model does not say."""


class DecisionForecast(Part):
    """The forecast value that the floor was computed from."""

    at: Timestamp
    """The moment that the value is forecast for."""

    quantile: Annotated[float, DecimalBetween("0", "1", clamps=True)]
    """The quantile that was used."""

    value: Demand
    """The forecast demand, in the metric's unit."""

    model: Word
    """The model that made it."""

    version: Text = ""
    """The model's version."""

    contributions: Annotated[tuple[Contribution, ...], Field(max_length=10)] = ()
    """What moved the forecast most, the strongest first."""


class ScalingDecisionSpec(Part):
    """What was decided and why. It never changes."""

    policy: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the ScalingPolicy that it was decided for."""

    policy_generation: Annotated[int, Field(ge=0)] = 0
    """Generation of the ScalingPolicy's spec that it was decided from."""

    decided_at: Timestamp | None = None
    """When it was decided, by the operator's clock."""

    service: SeriesName
    """service_name of the demand."""

    target: Annotated[str, Field(min_length=1, max_length=MAX_TARGET_LENGTH), fitted_to(MAX_TARGET_LENGTH)]
    """What is scaled, such as hpa/checkout."""

    type: DecisionType
    """ScaleUp or ScaleDown."""

    from_: Annotated[Replicas, Field(alias="from")]
    """Floor before, in replicas."""

    to: Replicas
    """Floor after, in replicas."""

    uncapped: Replicas
    """Replicas that were wanted before any limit."""

    mode: Mode
    """The policy's mode: Recommend means that nothing was written."""

    source: Source
    """Which wish won."""

    reason: Reason
    """Why, in one word."""

    message: Message = ""
    """Why, in one sentence."""

    forecast: DecisionForecast | None = None
    """The forecast that it rests on, where it rests on one."""

    limits: Annotated[tuple[Limit, ...], Field(max_length=len(Limit))] = ()
    """The rules that cut what was wanted, in the order in which they did."""

    event: Annotated[str | None, Field(min_length=1, max_length=63)] = None
    """Name of the BusinessEvent that it rests on, where it rests on one."""


class ScalingDecisionStatus(Part):
    """How far it has come."""

    phase: DecisionPhase | None = None
    """Pending, Executing, Verifying, and then one of Succeeded, Failed, RolledBack, Recommended, Superseded,
    Cancelled."""

    started_at: Timestamp | None = None
    """When it was carried out first."""

    finished_at: Timestamp | None = None
    """When its last phase was reached."""

    message: Message = ""
    """What came of it, in a sentence."""

    attempts: Annotated[int, Field(ge=0)] = 0
    """How often it was tried."""

    conditions: Conditions = ()
    """Succeeded: Unknown until it is known, then True or False."""


class ScalingDecision(Part):
    """The record of one change of a floor, applied or recommended. Written by the operator only."""

    model_config = Part.model_config | {"extra": "ignore"}

    metadata: Metadata
    spec: ScalingDecisionSpec
    status: ScalingDecisionStatus = Field(default_factory=ScalingDecisionStatus)

    @property
    def policy_key(self) -> PolicyKey:
        """The policy that it was decided for."""
        return PolicyKey(self.metadata.namespace, self.spec.policy)


def parse_decision(body: Mapping[str, Any]) -> ScalingDecision:
    """A ScalingDecision as it comes from the cluster.

    Raises InvalidManifestError naming each wrong field, what was given and what is allowed.
    """
    return read(ScalingDecision, body)
