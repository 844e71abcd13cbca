"""Who else holds a target: another policy, another autoscaler, or someone who set our field back (semantics 17)."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from predictive_scaling.control.state import Consent, PolicyState
from predictive_scaling.decision.model import Observed
from predictive_scaling.handlers.inventory import PolicyRecord
from predictive_scaling.resources.annotations import RESUME
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.targets.client import FIELD_MANAGER
from predictive_scaling.targets.horizontal_pod_autoscaler import refusal_of_owner


def holders(records: Iterable[PolicyRecord]) -> dict[tuple[str, str], PolicyKey]:
    """For each target (namespace, kind/name) the policy that it belongs to: the oldest that is not Off."""
    held: dict[tuple[str, str], PolicyRecord] = {}
    for record in records:
        if record.policy is None or record.deleted or record.policy.spec.mode is Mode.OFF:
            continue
        target = (record.key.namespace, str(record.policy.spec.target))
        other = held.get(target)
        if other is None or (record.created_at, record.uid) < (other.created_at, other.uid):
            held[target] = record
    return {target: record.key for target, record in held.items()}


def other_policy(record: PolicyRecord, held: Mapping[tuple[str, str], PolicyKey]) -> str | None:
    """Which policy holds the target instead of this one, in words; None where this one does."""
    if record.policy is None:
        return None
    holder = held.get((record.key.namespace, str(record.policy.spec.target)))
    if holder is None or holder == record.key:
        return None
    return f"{record.policy.spec.target} is held by ScalingPolicy {holder}, which is older; delete one of the two"


def other_autoscaler(observed: Observed) -> str | None:
    """Which autoscaler owns the target, in words; None for none that we know to write its minimum."""
    return None if observed.owner is None else refusal_of_owner(observed.owner)


def foreign_writer(record: PolicyRecord, state: PolicyState, observed: Observed, now: datetime) -> str | None:
    """Who holds our field against us, in words; None for nobody, or once a person consented to take it again.

    That consent is a changed policy or a new value of the resume annotation; the next write then takes the field, and
    what stands there now is what will be restored.
    """
    said = Consent(record.generation, record.annotations.get(RESUME))
    holder = taken_back(observed, state.takeover)
    if holder is None and state.conflict is not None and set(observed.floor_managers) - {FIELD_MANAGER}:
        holder = state.conflict
    if holder is not None and said == state.consent:
        return holder
    if holder is not None and state.takeover is not None:
        state.takeover = Takeover(
            target_uid=observed.uid, original_minimum=observed.minimum, since=now, written=False, resume=said.resume
        )
    state.consent, state.conflict = said, None
    return None


def taken_back(observed: Observed, takeover: Takeover | None) -> str | None:
    """Who set our field back since we wrote it, in words; None for nobody, or where we never wrote it."""
    if takeover is None or not takeover.written or takeover.target_uid != observed.uid:
        return None
    if not observed.floor_managers or FIELD_MANAGER in observed.floor_managers:
        return None
    return (
        f"{observed.floor_managers[0]} set the minimum to {observed.minimum} and holds it; leave minReplicas out of "
        "its manifest, then change the policy or set the annotation predictive-scaling.io/resume to a new value"
    )
