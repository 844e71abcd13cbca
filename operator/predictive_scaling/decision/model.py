"""What a decision is made from, and what it is. The same situation always gives the same decision."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from forecasting.forecast import Forecast
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy, Source


@dataclass(frozen=True, slots=True)
class Observed:
    """A target as it stands. What every adapter in targets/ answers."""

    uid: str
    minimum: int
    """The field that we own, as it stands: an HPA's minReplicas, a workload's replicas, a group's MinSize."""
    maximum: int | None
    """The target's own maximum; None where it has none."""
    current_replicas: int
    """Replicas that are wanted or exist, whichever the target counts: spec.replicas of its workload."""
    ready_replicas: int
    target_utilization: float | None
    """What the target's own autoscaler aims at, as a fraction of a replica; None where it has none."""
    utilization: float | None
    """What its newest metric says that a replica carries, as a fraction of it; None where unknown."""
    scaled_to_zero: bool
    """A person scaled it to zero: maintenance (semantics 24)."""
    owner: str | None
    """The controller that owns the target, such as `ScaledObject/checkout`; None for none."""
    floor_managers: tuple[str, ...]
    """Field managers of the field that we write, newest write first; ours among them where we hold it."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The newest demand that was observed."""

    value: float
    at: datetime
    """The end of the minute it stands for."""


class Rung(StrEnum):
    """Where a forecast comes from, best first (semantics 8)."""

    FRESH = "FreshForecast"
    LAST = "LastForecast"
    LAST_WEEK = "SameTimeLastWeek"


@dataclass(frozen=True, slots=True)
class Outlook:
    """The best forecast there is, and how good that is."""

    forecast: Forecast
    valid_until: datetime
    rung: Rung


@dataclass(frozen=True, slots=True)
class EventBase:
    """An occurrence of an event that concerns the policy, with the forecast made before its influence began."""

    event: BusinessEvent
    start: datetime
    end: datetime
    base: Forecast | None


@dataclass(frozen=True, slots=True)
class FloorChange:
    """A change of the floor that we made; steps a period are counted from these."""

    at: datetime
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a policy between two ticks. decide() answers with the next one."""

    since: datetime
    """When remembering began: nothing sinks before a full stabilisation window has been seen."""
    floor: int | None = None
    """The floor that we hold: the last applied one, or in Recommend the one we would hold. None before the first."""
    recommendations: tuple[tuple[datetime, int], ...] = ()
    changes: tuple[FloorChange, ...] = ()
    blind_since: datetime | None = None
    """Since when no rung of the ladder has a forecast; None while there is one."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on."""

    now: datetime
    policy: ScalingPolicy
    observed: Observed
    memory: Memory
    outlook: Outlook | None
    demand: Demand | None
    events: tuple[EventBase, ...]
    lead_time: timedelta
    refresh: timedelta
    """Time until the next forecast; a window is never shorter."""
    metrics_max_age: timedelta
    per_replica: float | None
    """Demand that one ready replica serves at 100 %: the policy's, or learned; None while unknown."""
    conflict: str | None = None
    """Who holds the target instead of us, and what they did; None for nobody."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A floor that one source asks for, in replicas, and why in words."""

    replicas: int
    source: Source
    why: str
    always_writes: bool = False
    """Event floors, bounds and fallbacks pass the dead band (semantics 5)."""


class Limit(StrEnum):
    """A rule that cut a wish; recorded in the decision's limits."""

    STABILIZED = "Stabilized"
    OUTAGE = "OutageImmunity"
    LOAD = "CarriesLoad"
    STALE = "MetricsStale"
    STEP_UP = "StepUp"
    STEP_DOWN = "StepDown"
    POLICY_MIN = "PolicyMinimum"
    POLICY_MAX = "PolicyMaximum"
    TARGET_MAX = "TargetMaximum"
    DEAD_BAND = "DeadBand"
    DIRECTION = "Direction"
    PAUSED = "Paused"
    PINNED = "Pinned"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the floor should be now, and everything that led there."""

    before: int
    floor: int
    uncapped: int
    source: Source
    reason: str
    message: str
    limits: tuple[Limit, ...]
    wishes: tuple[Wish, ...]
    memory: Memory
    """What to remember; memory.floor is already `floor` (an unsuccessful write puts the old one back)."""
    paused: str | None = None
    """Reason word of the Paused condition while the policy is paused; None while it is not."""
    event: str | None = None
    """The event whose wish won, or None."""
    fallback: bool = False
    quantile: float | None = None
    forecast_value: float | None = None
    """The demand that the forecast floor was made from, in the unit of the series."""
    forecast_at: datetime | None = None
    extra: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.floor != self.before
