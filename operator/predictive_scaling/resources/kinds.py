"""Our kinds, as the API server and kubectl know them."""

from dataclasses import dataclass
from typing import Literal

from predictive_scaling.resources.business_event import BusinessEvent, BusinessEventSpec
from predictive_scaling.resources.part import Part
from predictive_scaling.resources.scaling_decision import (
    ScalingDecision,
    ScalingDecisionSpec,
    ScalingDecisionStatus,
)
from predictive_scaling.resources.scaling_policy import ScalingPolicy, ScalingPolicySpec
from predictive_scaling.resources.statuses import BusinessEventStatus, ScalingPolicyStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; wide ones show with `-o wide`."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A custom resource: its models, its names, its columns."""

    model: type[Part]
    spec: type[Part]
    status: type[Part]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    """Fields that `kubectl get --field-selector` takes."""
    immutable: bool = False
    """Whether the spec never changes."""

    @property
    def name(self) -> str:
        """Such as ScalingPolicy."""
        return self.model.__name__


_AGE = Column("Age", ".metadata.creationTimestamp", "Time since it was created.", "date")
_READY = '.status.conditions[?(@.type=="Ready")].status'

SCALING_POLICY = Kind(
    model=ScalingPolicy,
    spec=ScalingPolicySpec,
    status=ScalingPolicyStatus,
    plural="scalingpolicies",
    short_name="sp",
    columns=(
        Column("Target", ".status.target", "What is scaled."),
        Column("Mode", ".spec.mode", "Off, Recommend or Auto."),
        Column("Min", ".spec.replicas.min", "The floor never sinks below this.", "integer"),
        Column("Max", ".spec.replicas.max", "The floor never rises above this.", "integer"),
        Column("Floor", ".status.floor", "The floor now.", "integer"),
        Column("Replicas", ".status.currentReplicas", "Replicas that the target has.", "integer"),
        Column("Forecast", ".status.forecast.summary", "The demand that the floor is for, with its quantile."),
        Column("Ready", _READY, "Whether the last visit succeeded."),
        Column("Last Decision", ".status.lastDecision.summary", "What was changed last."),
        _AGE,
        Column("Source", ".status.source", "Which wish the floor comes from.", wide=True),
        Column("Model", ".status.forecast.model", "The model that forecasts.", wide=True),
        Column("MAPE", ".status.accuracy.mape", "Mean absolute error of the forecasts, a ratio.", wide=True),
        Column("Lead", ".status.leadTime", "From raising the floor to ready replicas.", wide=True),
    ),
)

BUSINESS_EVENT = Kind(
    model=BusinessEvent,
    spec=BusinessEventSpec,
    status=BusinessEventStatus,
    plural="businessevents",
    short_name="be",
    columns=(
        Column("Type", ".spec.type", "What it learns from."),
        Column("Phase", ".status.phase", "Where it stands."),
        Column("Next Start", ".status.nextStart", "When it starts, or starts next."),
        Column("Policies", ".status.matchedPolicies", "How many policies it is for.", "integer"),
        Column("Ready", _READY, "Whether it is in use."),
        _AGE,
        Column("Multiplier", ".spec.expect.multiplier", "What demand is multiplied by.", wide=True),
        Column("Min Replicas", ".spec.expect.minReplicas", "Floor in replicas during the event.", "integer", wide=True),
        Column("Learned", ".status.learned.multiplier", "What earlier events of the type did.", wide=True),
    ),
)

SCALING_DECISION = Kind(
    model=ScalingDecision,
    spec=ScalingDecisionSpec,
    status=ScalingDecisionStatus,
    plural="scalingdecisions",
    short_name="sd",
    columns=(
        Column("Service", ".spec.service", "The service whose demand it is about."),
        Column("Type", ".spec.type", "ScaleUp or ScaleDown."),
        Column("From", ".spec.from", "Floor before.", "integer"),
        Column("To", ".spec.to", "Floor after.", "integer"),
        Column("Status", ".status.phase", "How far it has come."),
        Column("Source", ".spec.source", "Which wish won."),
        Column("Reason", ".spec.reason", "Why, in one word."),
        _AGE,
        Column("Policy", ".spec.policy", "The policy that it was decided for.", wide=True),
        Column("Target", ".spec.target", "What is scaled.", wide=True),
        Column("Message", ".spec.message", "Why, in one sentence.", wide=True),
    ),
    selectable=(".spec.policy", ".status.phase"),
    immutable=True,
)

KINDS = (SCALING_POLICY, BUSINESS_EVENT, SCALING_DECISION)
