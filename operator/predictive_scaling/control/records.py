"""Each decision's record: a row that all of them keep, and a ScalingDecision of which the newest stay."""

import re
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.decision.identity import decision_id, decision_name
from predictive_scaling.decision.model import Decision, Observed, Outlook
from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.handlers.inventory import PolicyRecord
from predictive_scaling.resources.conditions import Condition
from predictive_scaling.resources.metadata import API_VERSION, GROUP, VERSION, PolicyKey
from predictive_scaling.resources.scaling_decision import (
    Contribution,
    DecisionForecast,
    ScalingDecisionSpec,
    ScalingDecisionStatus,
)
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import ConditionStatus, DecisionPhase, DecisionType, Mode, Reason
from predictive_scaling.storage.scaling_decisions import DecisionStatus, ScalingDecisionRow
from predictive_scaling.targets.client import Cluster, ObjectConflictError, ObjectNotFoundError

log = structlog.get_logger(__name__)

_STATUS = {
    DecisionPhase.PENDING: DecisionStatus.PENDING,
    DecisionPhase.EXECUTING: DecisionStatus.EXECUTING,
    DecisionPhase.VERIFYING: DecisionStatus.VERIFYING,
    DecisionPhase.SUCCEEDED: DecisionStatus.SUCCEEDED,
    DecisionPhase.FAILED: DecisionStatus.FAILED,
    DecisionPhase.ROLLED_BACK: DecisionStatus.ROLLED_BACK,
    DecisionPhase.RECOMMENDED: DecisionStatus.RECOMMENDED,
    DecisionPhase.SUPERSEDED: DecisionStatus.SUPERSEDED,
    DecisionPhase.CANCELLED: DecisionStatus.CANCELLED,
}
_PATIENCE = timedelta(minutes=30)
"""An intent that is neither carried out nor superseded by then is stuck, and can be cleared."""

_SHARE = re.compile(r"(?P<feature>.+) \((?P<percent>[+-]\d+) ?%\)")

_JUDGED = {
    DecisionPhase.SUCCEEDED: ConditionStatus.TRUE,
    DecisionPhase.RECOMMENDED: ConditionStatus.TRUE,
    DecisionPhase.FAILED: ConditionStatus.FALSE,
    DecisionPhase.ROLLED_BACK: ConditionStatus.FALSE,
    DecisionPhase.SUPERSEDED: ConditionStatus.FALSE,
    DecisionPhase.CANCELLED: ConditionStatus.FALSE,
}


class DecisionTable(Protocol):
    """The part of storage.ScalingDecisions that is written here."""

    async def intend(self, decision: ScalingDecisionRow) -> bool:
        """Record before it is done; False when it is there already."""
        ...

    async def transition(
        self,
        id: str,  # noqa: A002 (the column's name)
        status: DecisionStatus,
        now: datetime,
        *,
        reason: str | None = None,
        outcome: str | None = None,
        deadline_at: datetime | None = None,
    ) -> bool:
        """Move it on; False where it does not lead there."""
        ...


@dataclass(frozen=True, slots=True)
class Intent:
    """A change that is about to be made, or recommended."""

    record: PolicyRecord
    policy: ScalingPolicy
    observed: Observed
    decision: Decision
    outlook: Outlook | None
    previous: str
    """Id of the target's decision before this one."""

    @property
    def name(self) -> str:
        """The same for the same intent, also after a crash (semantics 28)."""
        record, decision = self.record, self.decision
        identity = decision_id(record.uid, record.generation, self.previous or None, decision.before, decision.floor)
        return decision_name(record.key.name, identity)

    @property
    def type(self) -> DecisionType:
        """Up or down."""
        return DecisionType.SCALE_UP if self.decision.floor > self.decision.before else DecisionType.SCALE_DOWN


@dataclass(slots=True)
class DecisionRecords:
    """Writes both records: the row first, as it is what a restart reads."""

    cluster: Cluster
    table: DecisionTable
    clock: Clock
    kept: int
    namespaces: tuple[str, ...] = ()
    """What is watched; none means all."""
    _names: dict[PolicyKey, deque[str]] = field(default_factory=dict[PolicyKey, deque[str]])

    async def intend(self, intent: Intent, phase: DecisionPhase = DecisionPhase.PENDING) -> None:
        """Record what is about to be done; the same intent again changes nothing.

        Raises DatabaseUnavailableError, ClusterUnavailableError: then nothing may be done.
        """
        await self.table.intend(_row(intent, phase, self.clock.now()))
        try:
            await self.cluster.create(_collection(intent.record.key.namespace), _manifest(intent))
        except ObjectConflictError:
            return
        names = self._names.setdefault(intent.record.key, deque())
        names.append(intent.name)
        if phase.is_final:
            await self._show(intent.record.key.namespace, intent.name, phase, intent.decision.message)
        await self._forget_old(intent.record.key, names)

    async def move(
        self,
        key: PolicyKey,
        name: str,
        phase: DecisionPhase,
        message: str | None = None,
        deadline_at: datetime | None = None,
    ) -> None:
        """Move a decision on in both records. Raises DatabaseUnavailableError, ClusterUnavailableError: try again."""
        await self.table.transition(name, _STATUS[phase], self.clock.now(), outcome=message, deadline_at=deadline_at)
        if phase is not DecisionPhase.EXECUTING:
            await self._show(key.namespace, name, phase, message)

    async def load(self) -> None:
        """Learn which ScalingDecisions there are, so that old ones can be told from new ones."""
        everywhere = f"/apis/{GROUP}/{VERSION}/scalingdecisions"
        paths = [_collection(namespace) for namespace in self.namespaces] or [everywhere]
        found = [item for path in paths for item in await self.cluster.items(path)]
        self._names.clear()
        for item in sorted(found, key=lambda item: item["metadata"]["creationTimestamp"]):
            key = PolicyKey(item["metadata"]["namespace"], item["spec"]["policy"])
            self._names.setdefault(key, deque()).append(item["metadata"]["name"])

    def forget(self, key: PolicyKey) -> None:
        """A policy is gone; its decisions go with it."""
        self._names.pop(key, None)

    async def _show(self, namespace: str, name: str, phase: DecisionPhase, message: str | None) -> None:
        now = self.clock.now()
        succeeded = Condition(
            type="Succeeded",
            status=_JUDGED.get(phase, ConditionStatus.UNKNOWN),
            reason=phase.value,
            message=message or "",
            last_transition_time=now,
        )
        status = ScalingDecisionStatus(
            phase=phase,
            started_at=now if phase is DecisionPhase.VERIFYING else None,
            finished_at=now if phase.is_final else None,
            message=message or "",
            attempts=1 if phase is DecisionPhase.VERIFYING else 0,
            conditions=(succeeded,),
        ).to_manifest()
        if phase is not DecisionPhase.VERIFYING:
            status.pop("attempts")
        try:
            await self.cluster.merge(f"{_collection(namespace)}/{name}/status", {"status": status})
        except ObjectNotFoundError:
            log.debug("decision_object_gone", decision=name)

    async def _forget_old(self, key: PolicyKey, names: deque[str]) -> None:
        while len(names) > self.kept:
            try:
                await self.cluster.delete(f"{_collection(key.namespace)}/{names[0]}")
            except ObjectNotFoundError:
                pass
            except PredictiveScalingError as error:
                log.info("old_decision_not_deleted", decision=names[0], error=str(error))
                return
            names.popleft()


def _row(intent: Intent, phase: DecisionPhase, now: datetime) -> ScalingDecisionRow:
    record, decision, spec = intent.record, intent.decision, _spec(intent)
    row = ScalingDecisionRow(
        id=intent.name,
        created_at=now,
        service_name=intent.policy.service,
        namespace=record.key.namespace,
        policy=record.key.name,
        policy_uid=record.uid,
        generation=record.generation,
        target=spec.target,
        decision_type="scale_up" if intent.type is DecisionType.SCALE_UP else "scale_down",
        status=str(_STATUS[phase]),
        from_replicas=decision.before,
        to_replicas=decision.floor,
        uncapped_replicas=decision.uncapped,
        source=decision.source.value,
        reason=spec.reason.value,
        message=decision.message,
        mode=spec.mode.value,
        forecast=spec.forecast.to_manifest() if spec.forecast else None,
        limits=tuple(limit.value for limit in decision.limits),
        event=decision.event,
    )
    return (
        replace(row, started_at=now, finished_at=now) if phase.is_final else replace(row, deadline_at=now + _PATIENCE)
    )


def _manifest(intent: Intent) -> dict[str, Any]:
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
        "spec": _spec(intent).to_manifest(),
    }


def _spec(intent: Intent) -> ScalingDecisionSpec:
    policy, decision = intent.policy, intent.decision
    spec = policy.spec
    return ScalingDecisionSpec(
        policy=policy.metadata.name,
        service=policy.service,
        target=str(spec.target),
        type=intent.type,
        from_=decision.before,
        to=decision.floor,
        uncapped=decision.uncapped,
        mode=Mode(spec.mode),
        source=decision.source,
        reason=decision.reason or Reason.BOUNDS_CHANGED,
        message=decision.message[:1024],
        forecast=_forecast(intent),
        limits=decision.limits,
        event=decision.event,
    )


def _forecast(intent: Intent) -> DecisionForecast | None:
    decision, outlook = intent.decision, intent.outlook
    if outlook is None or decision.forecast_value is None or decision.forecast_at is None or decision.quantile is None:
        return None
    return DecisionForecast(
        at=decision.forecast_at,
        quantile=decision.quantile,
        value=decision.forecast_value,
        model=outlook.forecast.model,
        version=outlook.forecast.version,
        contributions=tuple(map(_contribution, outlook.forecast.contributions)),
    )


def _contribution(words: str) -> Contribution:
    """A reason as forecasts tell it: `demand of the last 30 minutes (+21 %)`, or without a share."""
    told = _SHARE.fullmatch(words)
    if told is None:
        return Contribution(feature=words[:253])
    return Contribution(feature=told["feature"][:253], effect=f"{float(told['percent']) / 100:.10g}")


def _collection(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/scalingdecisions"
