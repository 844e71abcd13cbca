"""The custom resources as the API server and kubectl define them."""

from dataclasses import dataclass
from typing import Literal

from predictive_scaling.resources.business_event import BusinessEvent, BusinessEventSpec
from predictive_scaling.resources.part import Part
from predictive_scaling.resources.scaling_backtest import (
    ScalingBacktest,
    ScalingBacktestSpec,
    ScalingBacktestStatus,
)
from predictive_scaling.resources.scaling_decision import (
    ScalingDecision,
    ScalingDecisionSpec,
    ScalingDecisionStatus,
)
from predictive_scaling.resources.scaling_policy import ScalingPolicy, ScalingPolicySpec
from predictive_scaling.resources.statuses import BusinessEventStatus, ScalingPolicyStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; wide: shown only with `-o wide`."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A custom resource: models, names and columns."""

    model: type[Part]
    spec: type[Part]
    status: type[Part]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    """Fields that `kubectl get --field-selector` takes."""
    immutable: str | None = None
    """Message of the refusal to change the spec; None if it may change."""

    @property
    def name(self) -> str:
        """The name of the kind, such as ScalingPolicy."""
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
        Column("Target", ".status.target", "Target."),
        Column("Mode", ".spec.mode", "Off, Recommend or Auto."),
        Column("Min", ".spec.replicas.min", "Lowest floor.", "integer"),
        Column("Max", ".spec.replicas.max", "Highest floor.", "integer"),
        Column("Floor", ".status.floor", "Current floor.", "integer"),
        Column("Replicas", ".status.currentReplicas", "Current replicas of the target.", "integer"),
        Column("Forecast", ".status.forecast.summary", "Peak demand over the lead time, with its quantile."),
        Column("Ready", _READY, "Whether the last reconciliation succeeded."),
        Column("Last Decision", ".status.lastDecision.summary", "Most recent change."),
        _AGE,
        Column("Source", ".status.source", "Source of the floor.", wide=True),
        Column("Model", ".status.forecast.model", "Model in use.", wide=True),
        Column("MAPE", ".status.accuracy.mape", "Mean absolute error relative to demand, a ratio.", wide=True),
        Column("Lead", ".status.leadTime", "Time from raising the floor to ready replicas.", wide=True),
        Column(
            "Short Avoided",
            ".status.shadow.minutesShortAvoided",
            "Minutes with too few ready replicas in seven days that mode Auto would have avoided.",
            wide=True,
        ),
        Column(
            "Hours Added",
            ".status.shadow.replicaHoursAdded",
            "Replica-hours in seven days that mode Auto would have added.",
            wide=True,
        ),
    ),
)

BUSINESS_EVENT = Kind(
    model=BusinessEvent,
    spec=BusinessEventSpec,
    status=BusinessEventStatus,
    plural="businessevents",
    short_name="be",
    columns=(
        Column("Type", ".spec.type", "Type of the event."),
        Column("Phase", ".status.phase", "Phase of the event."),
        Column("Next Start", ".status.nextStart", "Next start."),
        Column("Policies", ".status.matchedPolicies", "Number of selected policies.", "integer"),
        Column("Ready", _READY, "Whether the event is valid and in use."),
        _AGE,
        Column("Multiplier", ".spec.expect.multiplier", "Factor of demand.", wide=True),
        Column("Min Replicas", ".spec.expect.minReplicas", "Floor in replicas during the event.", "integer", wide=True),
        Column("Learned", ".status.learned.multiplier", "Multiplier learned from earlier events.", wide=True),
        Column("Observed", ".status.observed[0].multiplier", "Highest multiplier of the occurrence.", wide=True),
    ),
)

SCALING_DECISION = Kind(
    model=ScalingDecision,
    spec=ScalingDecisionSpec,
    status=ScalingDecisionStatus,
    plural="scalingdecisions",
    short_name="sd",
    columns=(
        Column("Service", ".spec.service", "Service of the demand."),
        Column("Type", ".spec.type", "ScaleUp or ScaleDown."),
        Column("From", ".spec.from", "Floor before the decision.", "integer"),
        Column("To", ".spec.to", "Floor after the decision.", "integer"),
        Column("Status", ".status.phase", "Phase of the decision."),
        Column("Source", ".spec.source", "Source of the recommendation."),
        Column("Reason", ".spec.reason", "Reason in one word."),
        _AGE,
        Column("Policy", ".spec.policy", "Policy of the decision.", wide=True),
        Column("Target", ".spec.target", "Target.", wide=True),
        Column("Message", ".spec.message", "Reason in a sentence.", wide=True),
    ),
    selectable=(".spec.policy", ".status.phase"),
    immutable="is the record of a decision and cannot be changed",
)

SCALING_BACKTEST = Kind(
    model=ScalingBacktest,
    spec=ScalingBacktestSpec,
    status=ScalingBacktestStatus,
    plural="scalingbacktests",
    short_name="sb",
    columns=(
        Column("Policy", ".spec.policy", "Policy; empty for a policy in the backtest itself."),
        Column("Phase", ".status.phase", "Pending, Running, Succeeded or Failed."),
        Column("Result", ".status.summary", "The policy compared with the HPA alone."),
        _AGE,
        Column("From", ".status.span.from", "Start of the demand.", wide=True),
        Column("To", ".status.span.to", "End of the demand.", wide=True),
        Column("Finished", ".status.finishedAt", "Time since its end.", "date", wide=True),
        Column("Message", ".status.message", "The result, or why it waits or failed.", wide=True),
    ),
    immutable="cannot be changed after the creation; create another ScalingBacktest",
)

KINDS = (SCALING_POLICY, BUSINESS_EVENT, SCALING_DECISION, SCALING_BACKTEST)
