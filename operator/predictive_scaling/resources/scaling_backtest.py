"""ScalingBacktest: recorded demand replayed through a policy, compared with the HPA alone."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from predictive_scaling.resources.conditions import Conditions, Message, Timestamp
from predictive_scaling.resources.event_time import Moment
from predictive_scaling.resources.metadata import MAX_NAME_LENGTH, Metadata, PolicyKey
from predictive_scaling.resources.part import Part, read
from predictive_scaling.resources.quantities import DecimalBetween, DurationBetween
from predictive_scaling.resources.rules import Rule
from predictive_scaling.resources.scaling_decision import Text
from predictive_scaling.resources.scaling_policy import Objective, Percent, Quantile, ScalingPolicySpec
from predictive_scaling.resources.statuses import Ratio, StatusPart, Summary, parse_status
from predictive_scaling.resources.vocabulary import BacktestPhase, BacktestVariant

MAX_COMPARED = 5
"""Maximum number of further quantiles, and of further prices."""
MAX_ROWS = 10 + 2 * 2 * MAX_COMPARED
DEFAULT_SPAN = timedelta(days=14)

Count = Annotated[float, DecimalBetween("0", "999999999999", clamps=True)]


class BacktestSpan(Part):
    """The recorded demand to replay: from a time to another, or the last days."""

    from_: Annotated[Moment | None, Field(alias="from")] = None
    """Start of the demand, an RFC 3339 time."""

    to: Moment | None = None
    """End of the demand, an RFC 3339 time. Defaults to the time at which the backtest starts. Requires from."""

    last: Annotated[timedelta | None, DurationBetween("12h", "17520h", optional=True)] = None
    """Length of the demand before the time at which the backtest starts, such as 336h for 14 days. Excludes from.
    Defaults to 336h if from is not set either."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!has(self.last) || (!has(self.from) && !has(self.to))",
            holds=lambda span: span.last is None or (span.from_ is None and span.to is None),
            message="choose last, or from and to, not both",
            field="last",
        ),
        Rule(
            cel="!has(self.to) || has(self.from)",
            holds=lambda span: span.to is None or span.from_ is not None,
            message="requires from",
            field="to",
        ),
        Rule(
            cel="!has(self.from) || !has(self.to) || self.to > self.from",
            holds=lambda span: span.from_ is None or span.to is None or span.to > span.from_,
            message="must be after from",
            message_cel="'to (%s) must be after from (%s)'.format([self.to, self.from])",
            field="to",
        ),
    )

    def bounds(self, now: datetime) -> tuple[datetime, datetime]:
        """Return start and end of the demand for a backtest that starts now; the end is never in the future."""
        if self.from_ is not None:
            return self.from_, min(self.to or now, now)
        return now - (self.last or DEFAULT_SPAN), now


class BacktestAssumptions(Part):
    """What the simulation assumes instead of what the policy states and the operator knows."""

    lead_time: Annotated[timedelta | None, DurationBetween("0s", "2h", optional=True)] = None
    """Time from raising the floor to ready replicas. Overrides forecast.leadTime; if neither states it, that of the
    policy's status, or 3m without one."""

    target_utilization: Percent | None = None
    """Target utilization of the simulated HPA, in percent of a replica. Overrides the target of the policy's
    HorizontalPodAutoscaler, which otherwise takes precedence over demand.targetUtilization."""

    per_replica: Annotated[float | None, DecimalBetween("0.000001", "999999999999", positive=True, optional=True)] = (
        None
    )
    """Demand that one ready replica serves at 100 % load, as a string such as "50". Overrides demand.perReplica; if
    neither states it, that of the policy's status; without one, the 99.9th percentile of the demand before the split
    needs 20 replicas at the target."""


class ScalingBacktestSpec(Part):
    """The policy, the demand to replay, and what to compare. Immutable: create another backtest instead."""

    policy: Annotated[str | None, Field(min_length=1, max_length=MAX_NAME_LENGTH)] = None
    """Name of a ScalingPolicy of the namespace. Exactly one of policy and policySpec must be set."""

    policy_spec: ScalingPolicySpec | None = None
    """Spec of a ScalingPolicy that need not exist. demand.service is required. BusinessEvents select it by the labels
    of the backtest."""

    span: BacktestSpan = Field(default_factory=BacktestSpan)
    """The recorded demand to replay. Defaults to the last 336h."""

    training_share: Annotated[float, DecimalBetween("0.2", "0.95")] = 0.7
    """Share of the span that is used as training history only, as a string such as "0.7"; the rest is replayed."""

    quantiles: Annotated[tuple[Quantile, ...], Field(max_length=MAX_COMPARED)] = ()
    """At most 5 further quantiles of the policy to compare, as strings such as "0.95"."""

    objectives: Annotated[tuple[Objective, ...], Field(max_length=MAX_COMPARED)] = ()
    """At most 5 further prices to compare: each row has the quantile that they choose from the training history."""

    assumptions: BacktestAssumptions = Field(default_factory=BacktestAssumptions)
    """What the simulation assumes instead of what the policy states."""

    ttl_seconds_after_finished: Annotated[int | None, Field(ge=0, le=31_536_000)] = None
    """Seconds after its end at which the operator deletes the backtest. Defaults to never."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.policy) != has(self.policySpec)",
            holds=lambda spec: (spec.policy is None) != (spec.policy_spec is None),
            message="either policy or policySpec must be set, not both",
        ),
        Rule(
            cel="!has(self.policySpec) || has(self.policySpec.demand.service)",
            holds=lambda spec: spec.policy_spec is None or spec.policy_spec.demand.service is not None,
            message="is required: the policy has no name that the service could default to",
            field="policySpec.demand.service",
        ),
    )


class ScalingBacktest(Part):
    """Replays the recorded demand of a service through a policy, by the code that decides live, and compares the result
    with the HPA alone. Ends with the condition Complete or Failed, as a Job does.
    """

    model_config = Part.model_config | {"extra": "ignore"}

    metadata: Metadata
    spec: ScalingBacktestSpec

    @property
    def key(self) -> PolicyKey:
        """The namespace and name of the backtest."""
        return PolicyKey(self.metadata.namespace, self.metadata.name)


class BacktestRow(StatusPart):
    """The outcome of a scaling strategy."""

    variant: BacktestVariant
    """Strategy in one word, such as HpaAlone or Policy."""

    name: Text
    """Strategy in words, as in the table of the command `backtest`."""

    quantile: Ratio = None
    """Quantile that the floor covers. Unset without a floor from forecasts."""

    hpa_target: Ratio = None
    """Target utilization of the HPA, as a ratio."""

    under_provisioned_share: Ratio = None
    """Share of the time with too few ready replicas, as a ratio."""

    under_provisioned_minutes: Count
    """Minutes with too few ready replicas."""

    lost_demand_share: Ratio = None
    """Share of the demand above the ready capacity, as a ratio."""

    replica_hours: Count
    """Replica-hours of all replicas, ready or not."""

    hours_ratio: Count
    """Replica-hours relative to those of the HPA alone."""


class ReplayedSpan(StatusPart):
    """The demand that is replayed."""

    from_: Annotated[Timestamp, Field(alias="from")]
    """Start of the demand."""

    to: Timestamp
    """End of the demand."""


class ScalingBacktestStatus(StatusPart):
    """Progress and result of the backtest."""

    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """metadata.generation of the spec that this status describes."""

    phase: BacktestPhase | None = None
    """Pending, Running, Succeeded or Failed."""

    attempts: Annotated[int, Field(ge=0)] = 0
    """Number of starts; a restart of the operator interrupts a run, which is then started again."""

    span: ReplayedSpan | None = None
    """The demand that is replayed, fixed at the first start."""

    started_at: Timestamp | None = None
    """Time of the last start."""

    finished_at: Timestamp | None = None
    """Time of the end."""

    summary: Summary = ""
    """Minutes short and replica-hours of the policy compared with the HPA alone. Shown in the column RESULT."""

    message: Message = ""
    """The result in sentences, with its assumptions; or what the backtest waits for, or why it failed."""

    rows: Annotated[tuple[BacktestRow, ...], Field(max_length=MAX_ROWS)] = ()
    """Outcome of each strategy, in the order of the table of the command `backtest`."""

    input_hash: Text = ""
    """Hash of the policy, the events, the demand and the options. Backtests with the same hash have the same result,
    which is computed once."""

    report: Text = ""
    """Path of the HTML report at the HTTP API."""

    conditions: Conditions = ()
    """Complete or Failed becomes True at the end. Reconciling is True until then, Stalled after a failure."""


def parse_backtest(body: Mapping[str, Any]) -> ScalingBacktest:
    """Return the typed ScalingBacktest of a manifest.

    Raises InvalidManifestError with each invalid field, its value and what is allowed.
    """
    return read(ScalingBacktest, body)


def parse_backtest_status(status: Mapping[str, Any]) -> ScalingBacktestStatus:
    """Return the status of a ScalingBacktest. Unknown fields are kept, invalid fields and conditions are omitted."""
    return parse_status(ScalingBacktestStatus, status)
