"""What the operator learns about targets: lead times and the capacity of a replica, and their changes."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.control.capacity import Capacities, CapacityKey, Observation
from predictive_scaling.control.current_forecasts import series_key
from predictive_scaling.control.lead_time import LeadTimes
from predictive_scaling.control.learned_changes import LearnedChanges
from predictive_scaling.decision.inputs import Observed
from predictive_scaling.resources.learned_status import LearnedStatus
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.statuses import ScalingPolicyStatus
from predictive_scaling.resources.vocabulary import Mode


@dataclass(frozen=True, slots=True)
class Learning:
    """Learned values of all targets."""

    lead_times: LeadTimes
    capacities: Capacities
    changes: LearnedChanges

    def restore(
        self, record: PolicyRecord, policy: ScalingPolicy, observed: Observed, status: ScalingPolicyStatus
    ) -> None:
        """Continue after a restart with what the status of a policy shows, if it is about this target and demand."""
        learned = status.learned or LearnedStatus()
        if status.learned is not None and learned.target_uid != observed.uid:
            return
        self.lead_times.restore(observed.uid, learned.lead_time, status.lead_time, release=observed.template)
        if learned.lead_time is not None:
            self.changes.note_lead_time(record, learned.lead_time)
        if learned.per_replica is not None and learned.series == str(series_key(policy)):
            self.capacities.restore(_capacity_key(policy, observed), learned.per_replica)
            self.changes.note_capacity(record, learned.per_replica)

    def learn_start(
        self, record: PolicyRecord, target_uid: str, took: timedelta, *, with_new_node: bool | None, release: str
    ) -> None:
        """Learn from a raise whose replicas were ready after `took`."""
        learned = self.lead_times.learn(target_uid, took, with_new_node=with_new_node, release=release)
        if learned is not None:
            self.changes.note_lead_time(record, learned)

    def observe(
        self, record: PolicyRecord, policy: ScalingPolicy, observed: Observed, observation: Observation
    ) -> None:
        """Learn the capacity of a replica from the demand that the ready ones serve."""
        learned = self.capacities.observe(_capacity_key(policy, observed), observation)
        if learned is not None:
            self.changes.note_capacity(record, learned)

    def lead_time(self, policy: ScalingPolicy, observed: Observed) -> timedelta:
        """Return the lead time of a policy: configured, learned, or the installation's default."""
        has_headroom = policy.spec.node_headroom is not None and policy.spec.mode is Mode.AUTO
        return self.lead_times.of(observed.uid, policy.spec.forecast.lead_time, has_headroom=has_headroom)

    def per_replica(self, policy: ScalingPolicy, observed: Observed) -> float | None:
        """Return the capacity of a replica, configured or learned; None while it is unknown."""
        return self.capacities.of(_capacity_key(policy, observed), policy.spec.demand.per_replica)

    def status(self, policy: ScalingPolicy, observed: Observed) -> LearnedStatus | None:
        """Return what was learned about the target of a policy; None if nothing was."""
        lead_time = self.lead_times.learned(observed.uid)
        per_replica = self.capacities.learned(_capacity_key(policy, observed))
        if lead_time is None and per_replica is None:
            return None
        series = None if per_replica is None else str(series_key(policy))
        return LearnedStatus(target_uid=observed.uid, series=series, lead_time=lead_time, per_replica=per_replica)

    def keep_only(
        self, policy_uids: Collection[str], target_uids: Collection[str], capacity_keys: Collection[CapacityKey]
    ) -> None:
        """Forget what no policy uses any more."""
        self.changes.keep_only(policy_uids)
        self.lead_times.keep_only(target_uids)
        self.capacities.keep_only(capacity_keys)


def _capacity_key(policy: ScalingPolicy, observed: Observed) -> CapacityKey:
    return observed.uid, series_key(policy)
