"""Which occurrences of BusinessEvents act on a policy about now."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from predictive_scaling.decision.occurrences import Occurrence, influence_start, occurrences
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy


@dataclass(frozen=True, slots=True)
class Concern:
    """One occurrence that concerns a policy."""

    event: BusinessEvent
    occurrence: Occurrence
    begins_at: datetime
    """When it begins to move the policy's floor: a base forecast must not have seen anything later."""

    @property
    def over_at(self) -> datetime:
        """When its ramp down is over."""
        return self.occurrence.end + self.event.spec.ramp_down


def concerns_of(
    policy: ScalingPolicy, events: Iterable[BusinessEvent], now: datetime, lead_time: timedelta, ahead: timedelta
) -> tuple[Concern, ...]:
    """Those that act on the policy between now and `ahead` from now, by start."""
    namespace, labels = policy.metadata.namespace, policy.metadata.labels
    found = [
        Concern(event, one, influence_start(event, one, lead_time))
        for event in events
        if event.selects(namespace, labels)
        for one in occurrences(event, now, now + lead_time + ahead)
    ]
    return tuple(sorted(found, key=lambda concern: (concern.occurrence.start, concern.event.metadata.name)))
