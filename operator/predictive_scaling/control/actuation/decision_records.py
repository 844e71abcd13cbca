"""Each decision's record: a row in the database, kept for good, and a ScalingDecision, of which the newest are kept.

The row comes first, as it is what a restart reads. While the database is unavailable the ScalingDecision is the record
of a raise: the row waits in memory, and should it get lost it is written from the ScalingDecision later.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakValueDictionary

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.client import (
    Cluster,
    Json,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
)
from predictive_scaling.cluster.object_metadata import ObjectMetadata
from predictive_scaling.control.actuation.decision_forms import (
    Intent,
    manifest_of_intent,
    row_of_intent,
    row_of_object,
)
from predictive_scaling.control.actuation.decision_log import DecisionLog, Transition
from predictive_scaling.errors import (
    ClusterUnavailableError,
    DatabaseUnavailableError,
    InvalidManifestError,
    PredictiveScalingError,
)
from predictive_scaling.resources.conditions import Condition
from predictive_scaling.resources.metadata import GROUP, VERSION, PolicyKey
from predictive_scaling.resources.scaling_decision import ScalingDecisionStatus
from predictive_scaling.resources.vocabulary import ConditionStatus, DecisionPhase, FailureCause
from predictive_scaling.storage.scaling_decisions import ScalingDecisionRow

__all__ = ["DecisionRecords", "Intent"]

log = structlog.get_logger(__name__)

_READS_AT_ONCE = 16

_SUCCEEDED = {
    DecisionPhase.SUCCEEDED: ConditionStatus.TRUE,
    DecisionPhase.RECOMMENDED: ConditionStatus.TRUE,
    DecisionPhase.FAILED: ConditionStatus.FALSE,
    DecisionPhase.ROLLED_BACK: ConditionStatus.FALSE,
    DecisionPhase.SUPERSEDED: ConditionStatus.FALSE,
    DecisionPhase.CANCELLED: ConditionStatus.FALSE,
}


@dataclass(slots=True)
class DecisionRecords:
    """Writes both records of each decision."""

    cluster: Cluster
    log: DecisionLog
    clock: Clock
    kept: int
    namespaces: tuple[str, ...] = ()
    """What is watched; none means all."""
    _names: dict[PolicyKey, deque[str]] = field(default_factory=dict[PolicyKey, deque[str]])
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary[str, asyncio.Lock])
    """By decision; a lock exists while somebody holds or awaits it."""

    async def intend(self, intent: Intent, phase: DecisionPhase = DecisionPhase.PENDING) -> datetime | None:
        """Record an intent; recording it twice changes nothing. Return when, by the API server's clock.

        Raises ClusterUnavailableError, and for a decrease DatabaseUnavailableError: do not write the target then.
        """
        now, namespace = self.clock.now(), intent.record.key.namespace
        await self.log.intend(row_of_intent(intent, phase, now), may_wait=intent.raises)
        try:
            created = await self.cluster.create(_collection(namespace), manifest_of_intent(intent, now))
        except ObjectConflictError:
            return await self.recorded_at(namespace, intent.name)
        names = self._names.setdefault(intent.record.key, deque())
        names.append(intent.name)
        if phase.is_final:
            await self._show(namespace, intent.name, phase, intent.decision.message)
        await self._delete_old(intent.record.key, names)
        return ObjectMetadata.of(created).created_at

    async def recorded_at(self, namespace: str, name: str) -> datetime | None:
        """Return when a decision was recorded, by the API server's clock; None if it cannot be read any more.

        Raises ClusterUnavailableError.
        """
        try:
            return ObjectMetadata.of(await self.cluster.get(f"{_collection(namespace)}/{name}")).created_at
        except (ObjectNotFoundError, ObjectRefusedError):
            return None

    async def transition(
        self,
        key: PolicyKey,
        name: str,
        phase: DecisionPhase,
        message: str | None = None,
        deadline_at: datetime | None = None,
        *,
        may_wait: bool = True,
        cause: FailureCause | None = None,
    ) -> bool:
        """Change a decision's phase in both records. cause: why it failed or was rolled back.

        False where it ended otherwise before, such as cleared by a person: the ScalingDecision then shows that end, and
        the decision must not be carried out. Raises ClusterUnavailableError: try again; and unless may_wait,
        DatabaseUnavailableError.
        """
        async with self._turn(name):
            transition = Transition(name, phase, self.clock.now(), message, deadline_at, cause and cause.value)
            ended = await self.log.transition(transition, may_wait=may_wait)
            if ended is not None:
                await self._show_row(ended)
                return False
            if phase is not DecisionPhase.EXECUTING:
                await self._show(key.namespace, name, phase, message, cause)
            return True

    def queue_write_back(self, row: ScalingDecisionRow) -> None:
        """Let the ScalingDecision follow a row that ended, as soon as it can be written."""
        self.log.not_shown[row.id] = row

    async def load(self) -> None:
        """List the ScalingDecisions, to delete old objects and to write missing rows.

        Raises ClusterUnavailableError. A list that the API server refuses is skipped; none of its objects is deleted.
        """
        self._names.clear()
        listed = [ObjectMetadata.of(item) for path in self._collections() for item in await self._listed(path)]
        for metadata in sorted(listed, key=lambda metadata: metadata.created_at):
            policy = next((owner["name"] for owner in metadata.owners), None)
            if policy is not None:
                self._names.setdefault(PolicyKey(metadata.namespace, policy), deque()).append(metadata.name)

    async def flush(self) -> None:
        """Write what waits for the database, and show the ends that ScalingDecisions do not show yet. Never raises."""
        await self.log.flush()
        for row in list(self.log.not_shown.values()):
            try:
                async with self._turn(row.id):
                    await self._show_row(row)
            except PredictiveScalingError as error:
                log.info("decision_end_not_shown", policy=row.policy_name, decision=row.id, error=str(error))
                continue
            self.log.not_shown.pop(row.id, None)

    async def write_back(self) -> None:
        """Insert the rows that are missing of the ScalingDecisions in the cluster.

        Raises DatabaseUnavailableError, ClusterUnavailableError.
        """
        keys = {name: key for key, names in self._names.items() for name in names}
        missing = keys.keys() - await self.log.table.known(list(keys))
        paths = [f"{_collection(keys[name].namespace)}/{name}" for name in missing]
        rows: list[ScalingDecisionRow] = []
        for start in range(0, len(paths), _READS_AT_ONCE):
            read = await asyncio.gather(*map(self._row_of, paths[start : start + _READS_AT_ONCE]))
            rows += [row for row in read if row is not None]
        for row in sorted(rows, key=lambda row: (row.created_at, row.id)):
            await self._write_back(row)

    async def _write_back(self, row: ScalingDecisionRow) -> None:
        try:
            await self.log.table.intend(row)
        except DatabaseUnavailableError:
            raise
        except Exception:  # a row that the database refuses must not hold up the others
            log.exception("decision_row_not_written_back", policy=row.policy_name, decision=row.id)
        else:
            log.info("decision_row_written_back", policy=row.policy_name, decision=row.id, status=row.status)

    async def rows(self) -> list[ScalingDecisionRow]:
        """All ScalingDecisions of the cluster as rows, oldest first; for a start without the database.

        Raises ClusterUnavailableError.
        """
        items = [item for path in self._collections() for item in await self._listed(path, complete=True)]
        rows = [row for row in map(_readable, items) if row is not None]
        return sorted(rows, key=lambda row: (row.created_at, row.id))

    async def was_listed(self, row: ScalingDecisionRow) -> ScalingDecisionRow | None:
        """The ScalingDecision of a row as a row; None where there is none. Raises ClusterUnavailableError."""
        return await self._row_of(f"{_collection(row.namespace)}/{row.id}")

    def keep_only(self, policies: Collection[PolicyKey]) -> None:
        """Forget the ScalingDecisions of deleted policies; the cluster deletes them with their owner."""
        for gone in self._names.keys() - set(policies):
            del self._names[gone]

    def _turn(self, name: str) -> asyncio.Lock:
        """Hold it to write the phase of a decision: it may end while an earlier phase is being written."""
        return self._turns.setdefault(name, asyncio.Lock())

    def _collections(self) -> list[str]:
        everywhere = f"/apis/{GROUP}/{VERSION}/scalingdecisions"
        return [_collection(namespace) for namespace in self.namespaces] or [everywhere]

    async def _listed(self, path: str, *, complete: bool = False) -> Sequence[Json]:
        try:
            return await (self.cluster.items(path) if complete else self.cluster.metadata(path))
        except ClusterUnavailableError:
            raise
        except PredictiveScalingError as error:
            log.warning("decisions_not_listed", path=path, error=str(error))
            return ()

    async def _row_of(self, path: str) -> ScalingDecisionRow | None:
        try:
            return _readable(await self.cluster.get(path))
        except ClusterUnavailableError:
            raise
        except PredictiveScalingError as error:
            log.info("decision_not_read", path=path, error=str(error))
            return None

    async def _show_row(self, row: ScalingDecisionRow) -> None:
        phase = row.phase
        log.info(
            "decision_ended_elsewhere",
            policy=row.policy_name,
            decision=row.id,
            phase=phase.value,
            outcome=row.outcome,
        )
        cause = FailureCause(row.cause) if row.cause in set(FailureCause) else None
        await self._show(row.namespace, row.id, phase, row.outcome, cause)

    async def _show(
        self,
        namespace: str,
        name: str,
        phase: DecisionPhase,
        message: str | None,
        cause: FailureCause | None = None,
    ) -> None:
        now = self.clock.now()
        succeeded = Condition(
            type="Succeeded",
            status=_SUCCEEDED.get(phase, ConditionStatus.UNKNOWN),
            reason=(cause or phase).value,
            message=message or "",
            last_transition_time=now,
        )
        status = ScalingDecisionStatus(
            phase=phase,
            started_at=now if phase is DecisionPhase.VERIFYING else None,
            finished_at=now if phase.is_final else None,
            message=message or "",
            cause=cause,
            attempts=1 if phase is DecisionPhase.VERIFYING else 0,
            conditions=(succeeded,),
        ).to_manifest()
        if phase is not DecisionPhase.VERIFYING:
            status.pop("attempts")
        try:
            await self.cluster.merge(f"{_collection(namespace)}/{name}/status", {"status": status})
        except ObjectNotFoundError:
            log.debug("decision_object_gone", namespace=namespace, decision=name)
        except ObjectRefusedError as error:
            # The row has the phase; what was done is not undone because its notice is refused.
            log.warning(
                "decision_status_refused",
                namespace=namespace,
                decision=name,
                phase=phase.value,
                error=str(error),
            )

    async def _delete_old(self, key: PolicyKey, names: deque[str]) -> None:
        # While rows wait, an object may be the only record of its decision.
        while len(names) > self.kept and self.log.unavailable is None and not self.log.lost:
            try:
                await self.cluster.delete(f"{_collection(key.namespace)}/{names[0]}")
            except ObjectNotFoundError:
                pass
            except PredictiveScalingError as error:
                log.info("old_decision_not_deleted", policy=str(key), decision=names[0], error=str(error))
                return
            names.popleft()


def _readable(body: Json) -> ScalingDecisionRow | None:
    try:
        return row_of_object(body)
    except InvalidManifestError as error:
        metadata = ObjectMetadata.of(body)
        log.warning(
            "decision_unreadable", namespace=metadata.namespace, decision=metadata.raw.get("name"), error=str(error)
        )
        return None


def _collection(namespace: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/scalingdecisions"
