"""Policies by target: which policy acts on it, and the original minimum."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.policy_state import PolicyState
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import Takeover
from predictive_scaling.resources.target import TargetSpec
from predictive_scaling.resources.vocabulary import Mode

TargetName = tuple[str, str]
"""Namespace, and the target as a status writes it, such as hpa/checkout. See `target_name`."""

_NO_NAMESPACE = ""


class Claim(NamedTuple):
    """A policy and what is remembered of it."""

    record: PolicyRecord
    state: PolicyState

    @property
    def writes(self) -> bool:
        """Whether it may write to its target: mode Auto."""
        return self.record.policy is not None and self.record.policy.spec.mode is Mode.AUTO


@dataclass(frozen=True, slots=True)
class TargetClaims:
    """The claims of one tick. A take-over belongs to the target: policies hand it on, and the last policy restores."""

    holders: dict[TargetName, Claim]
    """For each target the policy that it belongs to."""
    takers: dict[str, list[Claim]]
    """For each target, by uid, the policies that recorded its take-over. A group's are in several namespaces."""

    @classmethod
    def of(cls, claims: Iterable[Claim]) -> "TargetClaims":
        """Of all policies, with their states."""
        holders: dict[TargetName, Claim] = {}
        takers: dict[str, list[Claim]] = {}
        for claim in claims:
            takeover = claim.state.takeover
            if takeover is not None:
                takers.setdefault(takeover.target_uid, []).append(claim)
            target = _named(claim.record)
            if target is not None and (target not in holders or _rank(claim) < _rank(holders[target])):
                holders[target] = claim
        return cls(holders, takers)

    def held(self) -> dict[TargetName, PolicyKey]:
        """The holders' names."""
        return {target: claim.record.key for target, claim in self.holders.items()}

    def heir(self, record: PolicyRecord, state: PolicyState) -> Claim | None:
        """Return the other policy that acts on the target that this policy took over; None if there is none."""
        if state.target is None:
            return None
        holder = self.holders.get(_taken(record, state.target, state.takeover))
        return None if holder is None or holder.record.uid == record.uid or not holder.writes else holder

    def first_takeover(self, record: PolicyRecord, target_uid: str) -> Takeover | None:
        """Return the oldest take-over of a target by another policy; None if there is none."""
        takeovers = [
            takeover
            for claim in self.takers.get(target_uid, ())
            # Restoring during the tick may have ended a take-over, or handed it on.
            if claim.record.uid != record.uid
            and (takeover := claim.state.takeover) is not None
            and takeover.target_uid == target_uid
        ]
        return min(takeovers, key=lambda takeover: takeover.since, default=None)


NO_CLAIMS = TargetClaims({}, {})


def _named(record: PolicyRecord) -> TargetName | None:
    """The target that a policy claims; None if it is Off, being deleted or invalid."""
    if record.policy is None or record.deleted or record.policy.spec.mode is Mode.OFF:
        return None
    return target_name(record.key.namespace, record.policy.spec.target)


def target_name(namespace: str, target: TargetSpec) -> TargetName:
    """Return the name under which policies claim a target. Groups of AWS belong to a region, not to a namespace."""
    group = target.auto_scaling_group
    return (namespace, str(target)) if group is None else _group_name(str(target), group.region, group.role_arn)


def _taken(record: PolicyRecord, target: str, takeover: Takeover | None) -> TargetName:
    group = takeover.auto_scaling_group if takeover is not None else None
    return (record.key.namespace, target) if group is None else _group_name(target, group.region, group.role_arn)


def _group_name(target: str, region: str, role_arn: str | None) -> TargetName:
    account = role_arn.split(":")[4] if role_arn is not None else "the operator's account"
    return _NO_NAMESPACE, f"{target} in {region} of {account}"


def _rank(claim: Claim) -> tuple[bool, object, str]:
    """Order of precedence: policies that write before those that only recommend, then by age."""
    return not claim.writes, claim.record.created_at, claim.record.uid
