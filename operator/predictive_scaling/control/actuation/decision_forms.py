"""One decision in its three forms: the intent, its row in the database, its ScalingDecision in the cluster."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.decision.decision_state import decision_id, decision_name
from predictive_scaling.decision.inputs import CurrentForecast, Decision, Observed
from predictive_scaling.resources.metadata import API_VERSION
from predictive_scaling.resources.scaling_decision import (
    Contribution,
    DecisionForecast,
    ScalingDecisionSpec,
    effect_of,
    parse_decision,
)
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import DecisionPhase, DecisionType, Mode, Reason
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow

log = structlog.get_logger(__name__)

INTENT_TIMEOUT = timedelta(minutes=30)
"""An intent that is neither carried out nor superseded by then is stuck, and can be cleared."""

_ROW_TYPE: Final[Mapping[DecisionType, str]] = {
    DecisionType.SCALE_UP: "scale_up",
    DecisionType.SCALE_DOWN: "scale_down",
}
_EPOCH = "1970-01-01T00:00:00+00:00"
_SHARE = re.compile(r"(?P<feature>.+) \((?P<percent>[+-]\d+) ?%\)")


@dataclass(frozen=True, slots=True)
class Intent:
    """A change to be made or recommended."""

    record: PolicyRecord
    policy: ScalingPolicy
    observed: Observed
    decision: Decision
    current_forecast: CurrentForecast | None
    previous: str
    """Id of the target's previous decision."""

    @property
    def name(self) -> str:
        """The same for the same intent, also after a crash (semantics 28)."""
        record, decision = self.record, self.decision
        identity = decision_id(record.uid, record.generation, self.previous or None, decision.before, decision.floor)
        return decision_name(record.key.name, identity)

    @property
    def type(self) -> DecisionType:
        """Up or down."""
        return DecisionType.SCALE_UP if self.raises else DecisionType.SCALE_DOWN

    @property
    def raises(self) -> bool:
        """Whether the floor goes up: a raise does not wait for the database."""
        return self.decision.floor > self.decision.before


def row_of_intent(intent: Intent, phase: DecisionPhase, now: datetime) -> ScalingDecisionRow:
    """The row of an intent that is recorded now in this phase."""
    record, decision, spec = intent.record, intent.decision, _spec(intent, now)
    row = ScalingDecisionRow(
        id=intent.name,
        created_at=now,
        service_name=intent.policy.service,
        namespace=record.key.namespace,
        policy=record.key.name,
        policy_uid=record.uid,
        generation=record.generation,
        target=spec.target,
        decision_type=_ROW_TYPE[intent.type],
        status=phase.stored,
        from_replicas=decision.before,
        to_replicas=decision.floor,
        uncapped_replicas=decision.uncapped,
        source=decision.source.value,
        reason=spec.reason.value,
        message=spec.message,
        mode=spec.mode.value,
        forecast=spec.forecast.to_manifest() if spec.forecast else None,
        limits=tuple(limit.value for limit in decision.limits),
        event=decision.event,
    )
    return (
        replace(row, started_at=now, finished_at=now)
        if phase.is_final
        else replace(row, deadline_at=now + INTENT_TIMEOUT)
    )


def manifest_of_intent(intent: Intent, now: datetime) -> dict[str, Any]:
    """The ScalingDecision of an intent that is recorded now."""
    record = intent.record
    owner = {"apiVersion": API_VERSION, "kind": "ScalingPolicy", "name": record.key.name, "uid": record.uid}
    return {
        "apiVersion": API_VERSION,
        "kind": "ScalingDecision",
        # No label or annotation of the policy is copied: tools that track by label would think it theirs.
        "metadata": {
            "name": intent.name,
            "namespace": record.key.namespace,
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": False}],
        },
        "spec": _spec(intent, now).to_manifest(),
    }


def _spec(intent: Intent, now: datetime) -> ScalingDecisionSpec:
    policy, decision = intent.policy, intent.decision
    spec = policy.spec
    return ScalingDecisionSpec(
        policy=policy.metadata.name,
        policy_generation=intent.record.generation,
        decided_at=now,
        service=policy.service,
        target=str(spec.target),
        type=intent.type,
        from_=decision.before,
        to=decision.floor,
        uncapped=decision.uncapped,
        mode=Mode(spec.mode),
        source=decision.source,
        reason=decision.reason or Reason.BOUNDS_CHANGED,
        message=decision.message,
        forecast=_forecast(intent),
        limits=decision.limits,
        event=decision.event,
    )


def row_of_object(body: Mapping[str, Any]) -> ScalingDecisionRow:
    """Return the row of a ScalingDecision in the cluster.

    Raises InvalidManifestError where the object cannot be read. An object without a phase is an intent that may or may
    not have been carried out; its row is pending.
    """
    decision = parse_decision(body)
    spec, status, metadata = decision.spec, decision.status, decision.metadata
    phase = status.phase or DecisionPhase.PENDING
    created_at = spec.decided_at or metadata.creation_timestamp or datetime.fromisoformat(_EPOCH)
    owners = ObjectMetadata.of(body).owners
    return ScalingDecisionRow(
        id=metadata.name,
        created_at=created_at,
        service_name=spec.service,
        namespace=metadata.namespace,
        policy=spec.policy,
        policy_uid=next((owner["uid"] for owner in owners if owner.get("kind") == "ScalingPolicy"), ""),
        generation=spec.policy_generation,
        target=spec.target,
        decision_type=_ROW_TYPE[spec.type],
        status=phase.stored,
        from_replicas=spec.from_,
        to_replicas=spec.to,
        uncapped_replicas=spec.uncapped,
        source=spec.source.value,
        reason=spec.reason.value,
        message=spec.message,
        mode=spec.mode.value,
        attempts=status.attempts,
        started_at=status.started_at,
        finished_at=status.finished_at,
        deadline_at=None if phase.is_final else created_at + INTENT_TIMEOUT,
        forecast=spec.forecast.to_manifest() if spec.forecast else None,
        limits=tuple(limit.value for limit in spec.limits),
        event=spec.event,
        outcome=status.message or None,
        cause=status.cause and status.cause.value,
    )


def _forecast(intent: Intent) -> DecisionForecast | None:
    decision, current_forecast = intent.decision, intent.current_forecast
    if (
        current_forecast is None
        or decision.forecast_value is None
        or decision.forecast_at is None
        or decision.quantile is None
    ):
        return None
    if not math.isfinite(decision.forecast_value):
        return None
    try:
        return DecisionForecast(
            at=decision.forecast_at,
            quantile=decision.quantile,
            value=decision.forecast_value,
            model=current_forecast.forecast.model,
            version=current_forecast.forecast.version,
            contributions=tuple(map(_contribution, current_forecast.forecast.contributions)),
        )
    except Exception:  # a decision is carried out even if its forecast cannot be described
        log.exception("decision_forecast_left_out", policy=str(intent.record.key), decision=intent.name)
        return None


def _contribution(words: str) -> Contribution:
    """Parse a contribution such as `demand of the last 30 minutes (+21 %)`, with or without a share."""
    match = _SHARE.fullmatch(words)
    if match is None:
        return Contribution(feature=words)
    return Contribution(feature=match["feature"], effect=effect_of(float(match["percent"]) / 100))
