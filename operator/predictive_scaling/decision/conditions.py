"""The ten conditions of a policy, from its situation and decision (semantics 6 to 29)."""

from dataclasses import dataclass
from enum import StrEnum

from predictive_scaling.decision.context import assess_inputs, positive, trusted_demand
from predictive_scaling.decision.formatting import amount, clock_time, replicas
from predictive_scaling.decision.inputs import Decision, ForecastSource, PauseReason, Situation
from predictive_scaling.decision.limits import effective_maximum
from predictive_scaling.decision.review import Problem
from predictive_scaling.decision.spans import window_ahead
from predictive_scaling.resources.conditions import Condition, format_time
from predictive_scaling.resources.quantities import format_hms
from predictive_scaling.resources.vocabulary import ConditionStatus, ConditionType, Mode


class VerificationState(StrEnum):
    """Progress of the verification of the newest write; the value is the condition's reason."""

    NOTHING = "NothingToVerify"
    PENDING = "Verifying"
    SUCCEEDED = "ReplicasReady"
    FAILED = "VerificationFailed"


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """The outcome of a reconcile apart from the decision."""

    generation: int
    stalled: Problem | None = None
    """Why the policy can never work as written; see review.py."""
    failure: Problem | None = None
    """A temporary reason why this reconcile failed: target not found, API server unavailable, …"""
    degraded: Problem | None = None
    """A restriction of a successful reconcile, such as no decreases without the database."""
    verification: VerificationState = VerificationState.NOTHING
    verification_reason: str | None = None
    """A more specific reason where verification failed, such as Unschedulable."""
    verification_message: str = ""
    conflict_reason: str = "ForeignWriter"
    """The reason for situation.conflict, such as TargetHeldByPolicy."""


def policy_conditions(
    result: ReconcileResult, situation: Situation | None = None, decision: Decision | None = None
) -> tuple[Condition, ...]:
    """The conditions after this reconcile, for resources.conditions.merge; without a decision only part of them.

    Ready: the policy is accepted, its target observed, and the reconcile succeeded. A policy that is Off, paused, in
    fallback or in conflict is Ready.
    """
    states = [_ready(result), _stalled(result)]
    if situation is not None:
        states += [_metrics_fresh(situation), _forecast_ready(situation), _conflict(result, situation)]
    if situation is not None and decision is not None:
        states += [_active(situation, decision), _limited(situation, decision), _paused(decision)]
        states += [_fallback(situation, decision), _verified(result)]
    return tuple(
        Condition(type=type_, status=status, reason=reason, message=message, observed_generation=result.generation)
        for type_, status, reason, message in states
    )


_ConditionState = tuple[ConditionType, ConditionStatus, str, str]
_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def _ready(result: ReconcileResult) -> _ConditionState:
    problem = result.stalled or result.failure
    if problem:
        return ConditionType.READY, _FALSE, problem.reason, problem.message
    if result.degraded:
        return ConditionType.READY, _TRUE, result.degraded.reason, result.degraded.message
    return ConditionType.READY, _TRUE, "TargetObserved", "the policy is accepted and its target was observed"


def _stalled(result: ReconcileResult) -> _ConditionState:
    if result.stalled:
        return ConditionType.STALLED, _TRUE, result.stalled.reason, result.stalled.message
    return ConditionType.STALLED, _FALSE, "Accepted", "the spec has no permanent error"


def _metrics_fresh(situation: Situation) -> _ConditionState:
    type_, status, reason, message = _newest_metric(situation)
    outlier = situation.outlier
    if outlier is not None:
        message += (
            f"; the value {amount(outlier.value)} at {format_time(outlier.at)} is excluded as an outlier: it is far "
            "from nearly all earlier values"
        )
    return type_, status, reason, message


def _newest_metric(situation: Situation) -> _ConditionState:
    demand, metric = situation.demand, situation.policy.spec.demand.metric
    if demand is None:
        reason, message = "NoMetrics", f"no value of {metric} has been observed for service {situation.policy.service}"
        if situation.suggestion:
            message += f"; {situation.suggestion}"
    elif situation.now - demand.at > situation.metrics_max_age:
        age = format_hms(situation.now - demand.at)
        reason, message = (
            "MetricsStale",
            f"the newest value of {metric} is {age} old, observed at {format_time(demand.at)}",
        )
    elif trusted_demand(situation) is None:
        reason = "ImplausibleValue"
        message = f"the newest value of {metric} is {demand.value:g}, which counts as missing"
        if demand.value == 0:
            message += " unless spec.demand.zeroIsValid is true"
    else:
        newest = f"{amount(demand.value)} {metric} at {clock_time(demand.at)}"
        return ConditionType.METRICS_FRESH, _TRUE, "MetricsFresh", newest
    return ConditionType.METRICS_FRESH, _FALSE, reason, message


def _forecast_ready(situation: Situation) -> _ConditionState:
    if situation.forecast_failure is not None:
        return ConditionType.FORECAST_READY, _FALSE, "ForecastFailed", situation.forecast_failure
    inputs = assess_inputs(situation, window_ahead(situation.now, situation.lead_time, situation.margin))
    if inputs.no_forecast_since is not None or inputs.forecast is None or situation.current_forecast is None:
        since = f" since {format_time(inputs.no_forecast_since)}" if inputs.no_forecast_since else ""
        return ConditionType.FORECAST_READY, _FALSE, "NoForecast", f"no usable forecast{since}"
    model = f"{inputs.forecast.model} {inputs.forecast.version}".strip()
    until = format_time(situation.current_forecast.valid_until)
    message = f"{model} from {format_time(inputs.forecast.origin)}, valid until {until}"
    if inputs.forecast.note:
        message += f"; {inputs.forecast.note}"
    status = _TRUE if inputs.source is ForecastSource.FRESH else _FALSE
    return ConditionType.FORECAST_READY, status, str(inputs.source), message


def _conflict(result: ReconcileResult, situation: Situation) -> _ConditionState:
    if situation.conflict is not None:
        return ConditionType.CONFLICT, _TRUE, result.conflict_reason, situation.conflict
    return ConditionType.CONFLICT, _FALSE, "NoConflict", "no other writer of the target's floor was observed"


def _active(situation: Situation, decision: Decision) -> _ConditionState:
    mode = situation.policy.spec.mode
    if mode is not Mode.AUTO:
        message = "scaling is disabled" if mode is Mode.OFF else "the floor is recommended, but not written"
        return ConditionType.SCALING_ACTIVE, _FALSE, str(mode), f"{message}: spec.mode is {mode}"
    if decision.pause.freezes:
        reason = str(decision.pause.reason or "Conflict")
        return ConditionType.SCALING_ACTIVE, _FALSE, reason, decision.pause.message
    if positive(situation.per_replica) is None:
        message = "the capacity of a replica is not known yet; wait until it is measured, or set spec.demand.perReplica"
        if situation.observed.is_scaled_directly:
            message = "the capacity of a replica is not known, as only an HPA measures it; set spec.demand.perReplica"
        return ConditionType.SCALING_ACTIVE, _FALSE, "PerReplicaUnknown", message
    return ConditionType.SCALING_ACTIVE, _TRUE, str(decision.source), decision.message


def _limited(situation: Situation, decision: Decision) -> _ConditionState:
    maximum = effective_maximum(situation)
    if not decision.limited:
        return (
            ConditionType.SCALING_LIMITED,
            _FALSE,
            "WithinBounds",
            f"the recommendation is within the maximum of {replicas(maximum)}",
        )
    is_target_maximum = maximum < situation.policy.spec.replicas.max
    reason, limit = (
        ("TargetMaximum", "the target's own maximum") if is_target_maximum else ("PolicyMaximum", "spec.replicas.max")
    )
    message = f"{replicas(decision.uncapped)} recommended; {limit} is {maximum:,}"
    return ConditionType.SCALING_LIMITED, _TRUE, reason, message


def _fallback(situation: Situation, decision: Decision) -> _ConditionState:
    fallback, since = situation.policy.spec.fallback, decision.state.no_forecast_since
    if since is None:
        return ConditionType.FALLBACK, _FALSE, "NotNeeded", "a usable forecast exists"
    if not decision.fallback:
        message = (
            f"the floor is held; fallback behavior {fallback.behavior} starts at {format_time(since + fallback.after)}"
        )
        return ConditionType.FALLBACK, _FALSE, "Waiting", message
    message = f"no usable forecast since {format_time(since)}"
    return ConditionType.FALLBACK, _TRUE, str(fallback.behavior), message


def _paused(decision: Decision) -> _ConditionState:
    pause = decision.pause
    if decision.paused:
        return ConditionType.PAUSED, _TRUE, decision.paused, pause.message
    if pause.errors:
        return ConditionType.PAUSED, _FALSE, PauseReason.INVALID, "; ".join(pause.errors)
    if pause.reason:
        return ConditionType.PAUSED, _FALSE, pause.reason, pause.message
    return ConditionType.PAUSED, _FALSE, PauseReason.NOT_PAUSED, "the policy is not paused"


def _verified(result: ReconcileResult) -> _ConditionState:
    reason = result.verification_reason or str(result.verification)
    match result.verification:
        case VerificationState.SUCCEEDED:
            status = _TRUE
        case VerificationState.FAILED:
            status = _FALSE
        case VerificationState.PENDING | VerificationState.NOTHING:
            status = _UNKNOWN
    return ConditionType.VERIFIED, status, reason, result.verification_message
