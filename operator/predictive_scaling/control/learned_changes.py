"""Reports what was learned about a target when it changes by more than a quarter, such as after a slower release."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from prometheus_client import Counter

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.informer_cache import PolicyRecord
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.decision.formatting import amount
from predictive_scaling.resources.learned_status import LearnedCapacity, LearnedLeadTime
from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.resources.scaling_policy import ScalingPolicy

MIN_CHANGE: Final = 0.25
"""Relative change that is reported."""
MIN_INTERVAL: Final = timedelta(hours=1)
"""Between two Events about the same value: one that swings is not reported at each swing."""
MIN_SECONDS: Final = 5.0
"""A smaller change of a lead time is not reported: it moves no floor."""

CHANGES = Counter(
    "predictive_scaling_learned_changes_total",
    "Changes of a learned lead time or capacity by more than a quarter.",
    ["value"],
)


class _Reported(NamedTuple):
    """A value, and when an Event reported it; None for the first value, which no Event reports."""

    value: float
    at: datetime | None


@dataclass(slots=True)
class LearnedChanges:
    """The values that were reported last, by policy uid."""

    events: KubernetesEvents
    clock: Clock
    _lead_times: dict[str, _Reported] = field(default_factory=dict[str, _Reported])
    _capacities: dict[str, _Reported] = field(default_factory=dict[str, _Reported])

    def note_lead_time(self, record: PolicyRecord, learned: LearnedLeadTime) -> None:
        """Report a lead time that can be trusted, if it differs from the one reported before."""
        if not learned.trusted:
            return
        seconds = learned.value.total_seconds()
        before = self._replaced(self._lead_times, record.uid, seconds, MIN_SECONDS)
        if before is None:
            return
        CHANGES.labels("lead_time").inc()
        self.events.emit(
            record,
            EventReason.LEAD_TIME_CHANGED,
            f"Replicas are ready {format_duration(learned.value)} after a raise, no longer "
            f"{format_duration(timedelta(seconds=before))} "
            f"(0.9 quantile of the last {learned.starts} starts). {_lead_time_effect(record.policy)}",
        )

    def note_capacity(self, record: PolicyRecord, learned: LearnedCapacity) -> None:
        """Report a capacity that can be trusted, if it differs from the one reported before."""
        before = self._replaced(self._capacities, record.uid, learned.value, 0.0)
        if before is None:
            return
        CHANGES.labels("per_replica").inc()
        metric = record.policy.spec.demand.metric if record.policy is not None else "demand"
        self.events.emit(
            record,
            EventReason.CAPACITY_CHANGED,
            f"A replica serves {amount(learned.value)} {metric} at full load, no longer {amount(before)} "
            f"({amount(learned.low)} to {amount(learned.high)} by {learned.samples} observations). "
            f"{_capacity_effect(record.policy)}",
        )

    def _replaced(self, reported: dict[str, _Reported], uid: str, value: float, min_change: float) -> float | None:
        """Return the value reported before, if this one is to be reported in its place; else None."""
        now = self.clock.now()
        before = reported.setdefault(uid, _Reported(value, None))
        change = abs(value - before.value)
        if change < min_change or change <= MIN_CHANGE * before.value:
            return None
        if before.at is not None and timedelta() <= now - before.at < MIN_INTERVAL:
            return None
        reported[uid] = _Reported(value, now)
        return before.value

    def keep_only(self, policy_uids: Collection[str]) -> None:
        """Forget deleted policies."""
        for reported in (self._lead_times, self._capacities):
            for gone in reported.keys() - set(policy_uids):
                del reported[gone]


def _lead_time_effect(policy: ScalingPolicy | None) -> str:
    configured = policy.spec.forecast.lead_time if policy is not None else None
    if configured is None:
        return "Floors cover this time from now on."
    return f"Floors still cover spec.forecast.leadTime, {format_duration(configured)}."


def _capacity_effect(policy: ScalingPolicy | None) -> str:
    configured = policy.spec.demand.per_replica if policy is not None else None
    if configured is None:
        return "Floors are computed with it from now on."
    return f"Floors are still computed with spec.demand.perReplica, {amount(configured)}."
