"""States of all policies, and how they are restored from the status after a restart."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.capacity import CapacityKey
from predictive_scaling.control.current_forecasts import ForecastRequirement, series_key
from predictive_scaling.control.policy_memory import Acknowledgement
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.decision.inputs import DecisionState
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import Takeover, parse_policy_status


@dataclass(slots=True)
class PolicyStates:
    """States of all policies."""

    _states: dict[str, PolicyState] = field(default_factory=dict[str, PolicyState])
    _keys: dict[str, PolicyKey] = field(default_factory=dict[str, PolicyKey])

    def of(self, record: PolicyRecord, now: datetime) -> PolicyState:
        """Return the state of a policy; at its first reconciliation, the state restored from its status."""
        state = self._states.get(record.uid)
        if state is None:
            state = self._states[record.uid] = restored_state(record, now)
            self._keys[record.uid] = record.key
        return state

    def known(self, uid: str) -> PolicyState | None:
        """Return the state of a policy that was reconciled; None before its first reconciliation."""
        return self._states.get(uid)

    def requirements(self) -> list[ForecastRequirement]:
        """Return the forecasts that all policies require."""
        return [state.requirement for state in self._states.values() if state.requirement is not None]

    def by_key(self) -> dict[PolicyKey, PolicyState]:
        """The states of the policies that need forecasts, by namespace and name."""
        return {state.requirement.key: state for state in self._states.values() if state.requirement is not None}

    def drop_intents(self, names: Collection[str]) -> None:
        """Drop recorded intents that were ended elsewhere: they are not carried out, and their names not used again."""
        for state in self._states.values():
            if state.open_decision is not None and state.open_decision in names:
                state.supersede_intent()

    def capacity_keys(self) -> set[CapacityKey]:
        """Return targets and series of the newest decisions."""
        situations = (state.situation for state in self._states.values())
        return {
            (situation.observed.uid, series_key(situation.policy)) for situation in situations if situation is not None
        }

    def shift(self, by: timedelta) -> None:
        """Shift all times after the clock was stepped, so that durations stay as they were."""
        for state in self._states.values():
            state.shift(by)

    def target_uids(self) -> set[str]:
        """The targets that the policies were last decided for."""
        return {state.situation.observed.uid for state in self._states.values() if state.situation is not None}

    def keep_only(self, uids: set[str]) -> list[PolicyKey]:
        """Drop the states of deleted policies. Return names that no policy has any longer. uids: existing policies."""
        gone = {uid: self._keys.pop(uid) for uid in self._states.keys() - uids}
        for uid in gone:
            del self._states[uid]
        return sorted(set(gone.values()) - set(self._keys.values()))


def restored_state(record: PolicyRecord, now: datetime) -> PolicyState:
    """Return the state from the status of a policy, after a restart. The floor is not lowered before a full window."""
    status = parse_policy_status(record.status)
    takeover = status.takeover and status.takeover.without_unknown_fields()
    last = status.last_decision and status.last_decision.without_unknown_fields()
    generation = record.generation if status.observed_generation is None else status.observed_generation
    return PolicyState(
        uid=record.uid,
        decision_state=DecisionState(since=now, floor=status.floor),
        acknowledged=_acknowledgement(record, takeover, generation),
        takeover=takeover,
        target=status.target if takeover else None,
        previous_decision=last.name if last else "",
        last_decision=last,
        conditions=status.conditions,
        accuracy=status.accuracy and status.accuracy.without_unknown_fields(),
        node_headroom=status.node_headroom and status.node_headroom.without_unknown_fields(),
        shadow=status.shadow and status.shadow.without_unknown_fields(),
        written_status=status if record.status else None,
    )


def _acknowledgement(record: PolicyRecord, takeover: Takeover | None, generation: int) -> Acknowledgement:
    if takeover is None:
        return Acknowledgement.of(record, generation)
    return Acknowledgement(takeover.generation or generation, takeover.resume)
