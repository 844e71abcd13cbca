"""State of each policy between two ticks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.capacity import CapacityKey
from predictive_scaling.control.current_forecasts import ForecastRequirement, series_key
from predictive_scaling.decision.inputs import Decision, DecisionState, Situation
from predictive_scaling.decision.review import Problem
from predictive_scaling.resources.annotations import resume_of
from predictive_scaling.resources.conditions import Condition, read_conditions
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import AccuracyStatus, LastDecision, Takeover

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The last change by a person: generation of the spec and resume annotation. A newer one ends a conflict."""

    generation: int
    resume: str | None

    @classmethod
    def of(cls, record: PolicyRecord, generation: int | None = None) -> "Acknowledgement":
        """The acknowledgement of a policy now. generation: overrides that of the record.

        A long annotation is represented by its digest: a status holds 253 characters.
        """
        resume = resume_of(record.annotations)
        return cls(record.generation if generation is None else generation, resume)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Back-off after a refused write, longer each time."""

    until: datetime
    failures: int
    generation: int
    """metadata.generation of the policy whose write was refused: an edited policy does not wait."""
    raises: bool
    """Whether a raise was refused: a refused decrease does not hold back a raise."""
    problem: Problem
    """Why, and what to do."""


@dataclass(frozen=True, slots=True)
class ReconcileRetry:
    """Back-off after a failed reconciliation, longer each time; a change by a person ends it."""

    until: datetime
    failures: int
    generation: int
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OwnMetadata:
    """A policy's metadata as our newest request answered them; they count until the watch shows newer ones."""

    resource_version: int
    finalizers: tuple[str, ...]


@dataclass(slots=True)
class PolicyState:
    """One policy's."""

    uid: str
    decision_state: DecisionState
    acknowledged: Acknowledgement
    """Acknowledgement at our last write, or when our field was overwritten."""
    takeover: Takeover | None = None
    target: str | None = None
    """The target of the takeover, as the status writes it."""
    own_metadata: OwnMetadata | None = None
    previous_decision: str = ""
    """Id of the target's last decision that was carried out or recommended."""
    open_decision: str | None = None
    """Id of a decision whose intent is recorded and whose effect is not."""
    last_decision: LastDecision | None = None
    requirement: ForecastRequirement | None = None
    """What the last reconciliation needs forecast; None if nothing."""
    situation: Situation | None = None
    """Situation of the last decision."""
    decision: Decision | None = None
    """The last decision."""
    conditions: tuple[Condition, ...] = ()
    accuracy: AccuracyStatus | None = None
    verified: tuple[bool, str | None, str] | None = None
    """Whether the newest verification succeeded, why not in a word, and its message."""
    conflict: str | None = None
    """The foreign writer of our field, until a person acknowledges."""
    backoff: Backoff | None = None
    failure: Problem | None = None
    """Why the last decision could not be carried out."""
    retry: ReconcileRetry | None = None
    """When to reconcile again after failures; None if the last reconciliation succeeded."""
    written_status: Mapping[str, Any] | None = None
    """The status that was last written, as far as known."""
    status_written_at: datetime = _LONG_AGO
    deleting_since: float | None = None
    """The monotonic second at which we first saw it being deleted."""
    restoring: bool = False
    """Its target's minimum is being restored: a pending verification has not failed."""

    @property
    def floor(self) -> int | None:
        """The floor that we hold."""
        return self.decision_state.floor


@dataclass(slots=True)
class PolicyStates:
    """All policies'."""

    _states: dict[str, PolicyState] = field(default_factory=dict[str, PolicyState])
    _keys: dict[str, PolicyKey] = field(default_factory=dict[str, PolicyKey])

    def of(self, record: PolicyRecord, now: datetime) -> PolicyState:
        """The state of a policy; at the first visit it is what the status remembers."""
        state = self._states.get(record.uid)
        if state is None:
            state = self._states[record.uid] = restored_state(record, now)
            self._keys[record.uid] = record.key
        return state

    def requirements(self) -> list[ForecastRequirement]:
        """What all policies need forecast."""
        return [state.requirement for state in self._states.values() if state.requirement is not None]

    def by_key(self) -> dict[PolicyKey, PolicyState]:
        """The states of the policies that need forecasts, by namespace and name."""
        return {state.requirement.key: state for state in self._states.values() if state.requirement is not None}

    def drop_intents(self, names: Collection[str]) -> None:
        """Drop recorded intents that were ended elsewhere: they are not carried out, and their names not used again."""
        for state in self._states.values():
            if state.open_decision is not None and state.open_decision in names:
                state.previous_decision, state.open_decision = state.open_decision, None

    def capacity_keys(self) -> set[CapacityKey]:
        """Targets and series that the newest visits decided from."""
        situations = (state.situation for state in self._states.values())
        return {
            (situation.observed.uid, series_key(situation.policy)) for situation in situations if situation is not None
        }

    def shift(self, by: timedelta) -> None:
        """Shift all times after the clock was stepped, so that durations stay as they were."""
        for state in self._states.values():
            state.decision_state = shifted(state.decision_state, by)
            state.backoff = state.backoff and replace(state.backoff, until=state.backoff.until + by)
            state.retry = state.retry and replace(state.retry, until=state.retry.until + by)
            if state.status_written_at != _LONG_AGO:
                state.status_written_at += by

    def target_uids(self) -> set[str]:
        """The targets that the policies were last decided for."""
        return {state.situation.observed.uid for state in self._states.values() if state.situation is not None}

    def keep_only(self, uids: set[str]) -> list[PolicyKey]:
        """Forget policies that are gone, by uid; the names that no policy has any more."""
        gone = {uid: self._keys.pop(uid) for uid in self._states.keys() - uids}
        for uid in gone:
            del self._states[uid]
        return sorted(set(gone.values()) - set(self._keys.values()))


def shifted(memory: DecisionState, by: timedelta) -> DecisionState:
    """The memory of a policy, all of its times moved."""
    return replace(
        memory,
        since=memory.since + by,
        recommendations=tuple((at + by, replicas) for at, replicas in memory.recommendations),
        changes=tuple(replace(change, at=change.at + by) for change in memory.changes),
        no_forecast_since=None if memory.no_forecast_since is None else memory.no_forecast_since + by,
    )


def restored_state(record: PolicyRecord, now: datetime) -> PolicyState:
    """State from the status of a policy, after a restart. The floor is not lowered before a full window was seen."""
    status = record.status
    takeover = _parsed(Takeover, status.get("takeover"))
    last = _parsed(LastDecision, status.get("lastDecision"))
    conditions = read_conditions(status)
    observed = status.get("observedGeneration")
    return PolicyState(
        uid=record.uid,
        decision_state=DecisionState(since=now, floor=status.get("floor")),
        acknowledged=_acknowledgement(record, takeover, observed if isinstance(observed, int) else record.generation),
        takeover=takeover,
        target=status.get("target") if takeover else None,
        previous_decision=last.name if last else "",
        last_decision=last,
        conditions=conditions,
        accuracy=_parsed(AccuracyStatus, status.get("accuracy")),
        written_status=status or None,
    )


def _acknowledgement(record: PolicyRecord, takeover: Takeover | None, generation: int) -> Acknowledgement:
    if takeover is None:
        return Acknowledgement.of(record, generation)
    return Acknowledgement(takeover.generation or generation, takeover.resume)


def _parsed(kind: Any, value: Any) -> Any:
    if not value:
        return None
    try:
        return kind.model_validate(value)
    except ValidationError:
        return None
