"""Conflicts over a target: another policy, another autoscaler, or a foreign write of our field (semantics 17)."""

from collections.abc import Mapping

from predictive_scaling.cluster.client import FIELD_MANAGER
from predictive_scaling.cluster.field_ownership import MINIMUM_FROM_POLICY
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.policy_memory import Acknowledgement
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.control.target_claims import target_name
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.targets.horizontal_pod_autoscaler import refusal_of_owner


def other_policy(record: PolicyRecord, held: Mapping[tuple[str, str], PolicyKey]) -> str | None:
    """Describe the policy that holds the target; None if it is this policy, or if this policy does not want it."""
    if record.policy is None or record.policy.spec.mode is Mode.OFF:
        return None
    holder = held.get(target_name(record.key.namespace, record.policy.spec.target))
    if holder is None or holder == record.key:
        return None
    return (
        f"{record.policy.spec.target} is held by ScalingPolicy {holder}; delete one of the two, or set its mode to Off"
    )


def other_autoscaler(observed: Observed) -> str | None:
    """Which autoscaler owns the target, in words; None for none that we know to write its minimum."""
    return None if observed.owner is None else refusal_of_owner(observed.owner)


def foreign_writer(record: PolicyRecord, state: PolicyState, observed: Observed) -> str | None:
    """Describe the foreign writer of our field; None if there is none, or if a person acknowledged the conflict.

    The acknowledgement is a changed policy or a new value of the resume annotation; the next write then takes the
    field, and the current value is restored later.
    """
    acknowledgement = Acknowledgement.of(record)
    holder = taken_back(observed, state.takeover)
    if holder is None and state.conflict is not None and set(observed.floor_managers) - {FIELD_MANAGER}:
        holder = state.conflict
    if holder is not None and acknowledgement == state.acknowledged:
        return holder
    if holder is not None:
        state.forget_takeover()
    state.end_conflict(acknowledgement)
    return None


def taken_back(observed: Observed, takeover: Takeover | None) -> str | None:
    """Describe the write that replaced ours; None if ours is in place, or was never made."""
    if takeover is None or not takeover.written or takeover.target_uid != observed.uid:
        return None
    if not observed.floor_managers or FIELD_MANAGER in observed.floor_managers:
        return None
    if takeover.taken_from is not None and takeover.taken_from == observed.foreign_write:
        # Our first write was recorded but not made: the value that it would replace is still there.
        return None
    may_be_default = ""
    if observed.minimum == 1 and observed.floor_field == "minReplicas":
        may_be_default = (
            " (1 is also what the API server fills in where the manifest of an HPA has no minReplicas; if so, annotate "
            f'the HPA with {MINIMUM_FROM_POLICY}: "true")'
        )
    elif observed.minimum == 1 and observed.is_scaled_directly:
        may_be_default = " (1 is also the default of a manifest without replicas)"
    noun = "replicas" if observed.is_scaled_directly else "the minimum"
    return (
        f"{observed.floor_managers[0]} set {noun} to {observed.minimum} and holds it{may_be_default}; leave "
        f"{observed.floor_field} out of its manifest, then change the policy or set the annotation "
        "predictive-scaling.io/resume to a new value"
    )


def lost_floor(observed: Observed, state: PolicyState) -> int | None:
    """The floor that we held before the last owner's manifest dropped the field; None if nothing was lost.

    A manifest that loses its minReplicas by a client-side apply takes the value with it, whoever wrote that.
    """
    takeover, floor = state.takeover, state.decision_state.floor
    if takeover is None or not takeover.written or takeover.taken_from is not None:
        return None
    if takeover.target_uid != observed.uid or not observed.floor_given_up or FIELD_MANAGER in observed.floor_managers:
        return None
    return floor if floor is not None and floor > observed.minimum else None
