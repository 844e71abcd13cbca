"""The ten conditions of a policy, from what was seen and decided (semantics 6 to 29)."""

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


class Verification(StrEnum):
    """How far the check of the newest write has come; the value is the condition's reason."""

    NOTHING = "NothingToVerify"
    PENDING = "Verifying"
    SUCCEEDED = "ReplicasReady"
    FAILED = "VerificationFailed"


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """What happened at a visit besides the decision."""

    generation: int
    stalled: Problem | None = None
    """Why the policy can never work as written; see review.py."""
    failure: Problem | None = None
    """Why this visit failed although the next one may not: target not found, API server gone, …"""
    degraded: Problem | None = None
    """What the visit could not do although it succeeded, such as lower a floor without the database."""
    verification: Verification = Verification.NOTHING
    verification_reason: str | None = None
    """A word in place of the usual one, such as Unschedulable, where verification failed."""
    verification_message: str = ""
    conflict_reason: str = "ForeignWriter"
    """A word for situation.conflict, such as TargetHeldByPolicy."""


def policy_conditions(
    visit: ReconcileResult, situation: Situation | None = None, decision: Decision | None = None
) -> tuple[Condition, ...]:
    """What this visit found, for resources.conditions.merge; without a decision only what is known without one.

    Ready: accepted, target observed, and the visit succeeded. A policy that is Off, paused, in fallback or in
    conflict is Ready.
    """
    found = [_ready(visit), _stalled(visit)]
    if situation is not None:
        found += [_metrics_fresh(situation), _forecast_ready(situation), _conflict(visit, situation)]
    if situation is not None and decision is not None:
        found += [_active(situation, decision), _limited(situation, decision), _paused(decision)]
        found += [_fallback(situation, decision), _verified(visit)]
    return tuple(
        Condition(type=type_, status=status, reason=reason, message=message, observed_generation=visit.generation)
        for type_, status, reason, message in found
    )


_ConditionState = tuple[ConditionType, ConditionStatus, str, str]
_TRUE, _FALSE, _UNKNOWN = ConditionStatus.TRUE, ConditionStatus.FALSE, ConditionStatus.UNKNOWN


def _ready(visit: ReconcileResult) -> _ConditionState:
    problem = visit.stalled or visit.failure
    if problem:
        return ConditionType.READY, _FALSE, problem.reason, problem.message
    if visit.degraded:
        return ConditionType.READY, _TRUE, visit.degraded.reason, visit.degraded.message
    return ConditionType.READY, _TRUE, "TargetObserved", "the policy is accepted and its target was observed"


def _stalled(visit: ReconcileResult) -> _ConditionState:
    if visit.stalled:
        return ConditionType.STALLED, _TRUE, visit.stalled.reason, visit.stalled.message
    return ConditionType.STALLED, _FALSE, "Accepted", "nothing is written that can never work"


def _metrics_fresh(situation: Situation) -> _ConditionState:
    type_, status, reason, message = _newest_metric(situation)
    outlier = situation.outlier
    if outlier is not None:
        message += (
            f"; the value {amount(outlier.value)} of {format_time(outlier.at)} is set aside as an outlier: hardly any "
            "earlier one came near it"
        )
    return type_, status, reason, message


def _newest_metric(situation: Situation) -> _ConditionState:
    demand, metric = situation.demand, situation.policy.spec.demand.metric
    if demand is None:
        reason, message = "NoMetrics", f"no {metric} of {situation.policy.service} has been seen"
    elif situation.now - demand.at > situation.metrics_max_age:
        age = format_hms(situation.now - demand.at)
        reason, message = "MetricsStale", f"the newest {metric} is {age} old, of {format_time(demand.at)}"
    elif trusted_demand(situation) is None:
        reason, message = "ImplausibleValue", f"the newest {metric} is {demand.value:g}; it counts as missing"
        if demand.value == 0:
            message += " unless spec.demand.zeroIsValid is true"
    else:
        newest = f"{amount(demand.value)} {metric} at {clock_time(demand.at)}"
        return ConditionType.METRICS_FRESH, _TRUE, "MetricsFresh", newest
    return ConditionType.METRICS_FRESH, _FALSE, reason, message


def _forecast_ready(situation: Situation) -> _ConditionState:
    if situation.forecast_failure is not None:
        return ConditionType.FORECAST_READY, _FALSE, "ForecastFailed", situation.forecast_failure
    sight = assess_inputs(situation, window_ahead(situation.now, situation.lead_time, situation.refresh))
    if sight.no_forecast_since is not None or sight.forecast is None or situation.current_forecast is None:
        since = f" since {format_time(sight.no_forecast_since)}" if sight.no_forecast_since else ""
        return ConditionType.FORECAST_READY, _FALSE, "NoForecast", f"there is no forecast to go by{since}"
    model = f"{sight.forecast.model} {sight.forecast.version}".strip()
    until = format_time(situation.current_forecast.valid_until)
    made = f"{model} from {format_time(sight.forecast.origin)}, valid until {until}"
    if sight.forecast.note:
        made += f"; {sight.forecast.note}"
    status = _TRUE if sight.source is ForecastSource.FRESH else _FALSE
    return ConditionType.FORECAST_READY, status, str(sight.source), made


def _conflict(visit: ReconcileResult, situation: Situation) -> _ConditionState:
    if situation.conflict is not None:
        return ConditionType.CONFLICT, _TRUE, visit.conflict_reason, situation.conflict
    return ConditionType.CONFLICT, _FALSE, "NoConflict", "nobody else writes the target's floor"


def _active(situation: Situation, decision: Decision) -> _ConditionState:
    mode = situation.policy.spec.mode
    if mode is not Mode.AUTO:
        message = "nothing is decided" if mode is Mode.OFF else "the floor is only recommended"
        return ConditionType.SCALING_ACTIVE, _FALSE, str(mode), f"{message}; spec.mode is {mode}"
    if decision.pause.freezes:
        reason = str(decision.pause.reason or "Conflict")
        return ConditionType.SCALING_ACTIVE, _FALSE, reason, decision.pause.message
    if positive(situation.per_replica) is None:
        message = "what a replica carries is not known yet; it is learned, or spec.demand.perReplica says it"
        return ConditionType.SCALING_ACTIVE, _FALSE, "PerReplicaUnknown", message
    return ConditionType.SCALING_ACTIVE, _TRUE, str(decision.source), decision.message


def _limited(situation: Situation, decision: Decision) -> _ConditionState:
    maximum = effective_maximum(situation)
    if not decision.limited:
        return ConditionType.SCALING_LIMITED, _FALSE, "WithinBounds", f"the floor may rise to {replicas(maximum)}"
    of_target = maximum < situation.policy.spec.replicas.max
    reason, where = ("TargetMaximum", "the target's maximum") if of_target else ("PolicyMaximum", "spec.replicas.max")
    message = f"{replicas(decision.uncapped)} wanted; {where} allows {maximum:,}"
    return ConditionType.SCALING_LIMITED, _TRUE, reason, message


def _fallback(situation: Situation, decision: Decision) -> _ConditionState:
    fallback, since = situation.policy.spec.fallback, decision.state.no_forecast_since
    if since is None:
        return ConditionType.FALLBACK, _FALSE, "NotNeeded", "there is a forecast to go by"
    if not decision.fallback:
        begins = format_time(since + fallback.after)
        return ConditionType.FALLBACK, _FALSE, "Waiting", f"the floor is held; {fallback.behavior} begins at {begins}"
    message = f"there has been no forecast since {format_time(since)}"
    return ConditionType.FALLBACK, _TRUE, str(fallback.behavior), message


def _paused(decision: Decision) -> _ConditionState:
    pause = decision.pause
    if decision.paused:
        return ConditionType.PAUSED, _TRUE, decision.paused, pause.message
    if pause.errors:
        return ConditionType.PAUSED, _FALSE, PauseReason.INVALID, "; ".join(pause.errors)
    if pause.reason:
        return ConditionType.PAUSED, _FALSE, pause.reason, pause.message
    return ConditionType.PAUSED, _FALSE, PauseReason.NOT_PAUSED, "nobody paused the policy"


def _verified(visit: ReconcileResult) -> _ConditionState:
    reason = visit.verification_reason or str(visit.verification)
    match visit.verification:
        case Verification.SUCCEEDED:
            status = _TRUE
        case Verification.FAILED:
            status = _FALSE
        case Verification.PENDING | Verification.NOTHING:
            status = _UNKNOWN
    return ConditionType.VERIFIED, status, reason, visit.verification_message
