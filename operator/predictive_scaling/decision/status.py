"""The status of a policy (semantics 22): bounded in size, and equal for equal inputs."""

import math

from predictive_scaling.decision.context import positive
from predictive_scaling.decision.formatting import amount, quantile_name
from predictive_scaling.decision.inputs import CurrentForecast, Decision, Situation
from predictive_scaling.resources.conditions import Condition
from predictive_scaling.resources.learned_status import LearnedStatus
from predictive_scaling.resources.shadow_status import ShadowStatus
from predictive_scaling.resources.statuses import (
    MAX_POINTS,
    AccuracyStatus,
    Advice,
    ForecastPoint,
    ForecastStatus,
    LastDecision,
    NodeHeadroomStatus,
    RegressorStatus,
    ScalingPolicyStatus,
    Takeover,
)
from predictive_scaling.resources.vocabulary import Mode

MEDIAN, HIGH = 0.5, 0.9


def policy_status(
    situation: Situation,
    decision: Decision,
    conditions: tuple[Condition, ...],
    *,
    last_decision: LastDecision | None = None,
    accuracy: AccuracyStatus | None = None,
    takeover: Takeover | None = None,
    advice: Advice | None = None,
    node_headroom: NodeHeadroomStatus | None = None,
    learned: LearnedStatus | None = None,
    shadow: ShadowStatus | None = None,
    regressors: tuple[RegressorStatus, ...] = (),
) -> ScalingPolicyStatus:
    """Return the status after a reconcile with a decision. conditions: already merged (resources.conditions.merge).

    shadow: shown in mode Recommend only; in Auto, what happened is what Auto did.
    """
    policy, observed = situation.policy, situation.observed
    return ScalingPolicyStatus(
        observed_generation=policy.metadata.generation,
        mode=policy.spec.mode,
        target=str(policy.spec.target),
        current_replicas=observed.current_replicas,
        ready_replicas=observed.ready_replicas,
        floor=decision.floor,
        uncapped_floor=decision.uncapped,
        source=decision.source,
        forecast=_forecast(situation, decision, regressors),
        accuracy=accuracy,
        lead_time=situation.lead_time,
        per_replica=positive(situation.per_replica),
        last_decision=last_decision,
        advice=advice,
        node_headroom=node_headroom,
        learned=learned,
        shadow=shadow if policy.spec.mode is Mode.RECOMMEND else None,
        takeover=takeover,
        conditions=conditions,
    )


def status_without_decision(
    generation: int,
    conditions: tuple[Condition, ...],
    *,
    target: str | None = None,
    takeover: Takeover | None = None,
) -> ScalingPolicyStatus:
    """Return the status after a reconcile without a decision: the target does not exist, or the policy is invalid."""
    return ScalingPolicyStatus(observed_generation=generation, target=target, takeover=takeover, conditions=conditions)


def status_after_failure(
    previous: ScalingPolicyStatus,
    generation: int,
    conditions: tuple[Condition, ...],
    *,
    target: str | None = None,
    takeover: Takeover | None = None,
) -> ScalingPolicyStatus:
    """Return the status after a failed reconcile: the previous status with new conditions.

    target, takeover: the take-over now, which the failed reconcile may have recorded or ended, and its target.
    """
    return previous.model_copy(
        update={
            "observed_generation": generation,
            "target": previous.target if takeover is None else target,
            "takeover": takeover,
            "conditions": conditions,
        }
    )


def _forecast(
    situation: Situation, decision: Decision, regressors: tuple[RegressorStatus, ...]
) -> ForecastStatus | None:
    current_forecast = situation.current_forecast
    if current_forecast is None:
        return None
    value, quantile = decision.forecast_value, decision.quantile
    summary = "" if value is None or quantile is None else f"{amount(value)} ({quantile_name(quantile)})"
    return ForecastStatus(
        model=current_forecast.forecast.model,
        version=current_forecast.forecast.version,
        generated_at=current_forecast.forecast.origin,
        valid_until=current_forecast.valid_until,
        summary=summary,
        points=_points(current_forecast, situation),
        regressors=regressors,
    )


def _points(current_forecast: CurrentForecast, situation: Situation) -> tuple[ForecastPoint, ...]:
    """The current and future bins, thinned evenly to the maximum of a status. A bin without numbers is left out."""
    forecast = current_forecast.forecast
    first = max(0, (situation.now - forecast.origin) // forecast.step)
    stride = max(1, -(-(len(forecast.values) - first) // MAX_POINTS))
    median, high = forecast.quantiles.index(MEDIAN), forecast.quantiles.index(HIGH)
    rows = forecast.values[first::stride].tolist()
    return tuple(
        ForecastPoint(time=forecast.origin + forecast.step * (first + stride * index), p50=row[median], p90=row[high])
        for index, row in enumerate(rows)
        if math.isfinite(row[median]) and math.isfinite(row[high])
    )
