"""What a decision is made from, and what it is. The same situation always gives the same decision."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from forecasting.events import LearnedEffect
from forecasting.forecast import Forecast
from forecasting.series import Outlier
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.resources.vocabulary import Direction, Limit, Reason, Source

__all__ = [
    "CurrentForecast",
    "Decision",
    "DecisionState",
    "Demand",
    "EventBaseline",
    "FloorChange",
    "ForecastSource",
    "Limit",
    "Observed",
    "Pause",
    "PauseReason",
    "Reason",
    "Recommendation",
    "Situation",
    "Source",
    "Tuned",
]


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
    """Field managers that state a value for the field that we write, newest write first; ours where we hold it."""
    foreign_write: str | None = None
    """The newest write of that field by anybody else, in words that change with each of them; None for none."""
    floor_given_up: bool = False
    """The minimum is the API's default: whoever set it last took the field out of the manifest."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The newest demand that was observed."""

    value: float
    at: datetime
    """The end of the minute it stands for."""


class ForecastSource(StrEnum):
    """Where a forecast comes from, best first (semantics 8)."""

    FRESH = "FreshForecast"
    LAST = "LastForecast"
    LAST_WEEK = "SameTimeLastWeek"


@dataclass(frozen=True, slots=True)
class CurrentForecast:
    """The best forecast there is, and how good that is."""

    forecast: Forecast
    valid_until: datetime
    source: ForecastSource


@dataclass(frozen=True, slots=True)
class EventBaseline:
    """An occurrence of an event that concerns the policy, with the forecast made before its influence began.

    base: None where there is none: a multiplier then cannot be applied, and the wish says so. A base that ends before
    the event does goes on with its last bin. It knows nothing of the event, or the multiplier would count twice.
    learned: what earlier events of the type did to this demand; None where nothing is known.
    """

    event: BusinessEvent
    start: datetime
    end: datetime
    baseline_forecast: Forecast | None
    learned: LearnedEffect | None = None


@dataclass(frozen=True, slots=True)
class FloorChange:
    """A change of the floor that we made; steps a period are counted from these."""

    at: datetime
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class DecisionState:
    """What is remembered of a policy between two ticks. decide() answers with the next one.

    Enough for a restart: `Memory(since=now, floor=…)`; nothing sinks then before a full window has been seen again.
    """

    since: datetime
    """Since when data came without a gap: nothing sinks before a full stabilization window has been seen."""
    floor: int | None = None
    """The floor that we hold: the last applied one, or in Recommend the one we would hold. None before the first."""
    recommendations: tuple[tuple[datetime, int], ...] = ()
    """Strongest wishes of the stabilization window, highest first; what a later and higher one hides is left out."""
    changes: tuple[FloorChange, ...] = ()
    """Changes of the last period, oldest first."""
    no_forecast_since: datetime | None = None
    """Since when no rung of the ladder has a forecast; None while there is one."""
    reference_forecast: Forecast | None = None
    """The newest forecast made while demand came in as expected: the yardstick for an outage (semantics 10)."""
    floor_source: Source | None = None
    """The source that last asked for all of the floor; says why it sinks when that source asks no more."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """The quantile that the policy's prices choose over its last days."""

    quantile: float
    why: str
    """In words that go on after the quantile's name: `chosen for …`."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision depends on."""

    now: datetime
    policy: ScalingPolicy
    observed: Observed
    state: DecisionState
    current_forecast: CurrentForecast | None
    demand: Demand | None
    events: tuple[EventBaseline, ...]
    lead_time: timedelta
    refresh: timedelta
    """Time until the next forecast; a window is never shorter."""
    metrics_max_age: timedelta
    per_replica: float | None
    """Demand that one ready replica serves at 100 %: the policy's, or learned; None while unknown."""
    conflict: str | None = None
    """Who holds the target instead of us, and what they did; None for nobody."""
    tuned: Tuned | None = None
    """For a policy with an objective; None until its days have been looked back on."""
    lost_floor: int | None = None
    """The floor that we held when the target's minimum fell to the API's default; None where nothing was lost."""
    forecast_failure: str | None = None
    """Why forecasts could not be used at this visit although there may be some; None where nothing failed."""
    outlier: Outlier | None = None
    """The newest minute of demand that was set aside in the last hour, as nothing before came near it."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A floor that one source asks for, in replicas, and why in words."""

    replicas: int
    source: Source
    why: str
    always_writes: bool = False
    """Event floors, bounds and fallbacks pass the dead band (semantics 5)."""
    event: str | None = None
    """Name of the event that asks; None for other sources."""
    demand: float | None = None
    """The demand that it was made from, in the unit of the series; None where it is not made from one."""
    at: datetime | None = None
    """When that demand is expected."""
    applies: bool = True
    """False where a source had to stay silent, such as a multiplier without a base: `why` tells the reason."""


class PauseReason(StrEnum):
    """Reason words of the condition Paused."""

    SUSPENDED = "Suspended"
    ANNOTATED = "PausedByAnnotation"
    SCALED_TO_ZERO = "TargetScaledToZero"
    PINNED = "Pinned"
    UP_ONLY = "UpOnly"
    DOWN_ONLY = "DownOnly"
    INVALID = "InvalidAnnotation"
    NOT_PAUSED = "NotPaused"


@dataclass(frozen=True, slots=True)
class Pause:
    """What may not happen now."""

    freezes: bool = False
    """Nothing is written, whatever the bounds say."""
    reason: PauseReason | None = None
    """None where nobody paused the policy (Off and conflicts have their own ways to show)."""
    message: str = ""
    pin: int | None = None
    direction: Direction | None = None
    errors: tuple[str, ...] = ()
    """Annotations that cannot be read."""

    @property
    def pauses(self) -> bool:
        """Whether Paused is True: the floor does not follow demand at all."""
        return self.reason is not None and (self.freezes or self.pin is not None)


NO_PAUSE = Pause()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the floor should be now, and everything that led there."""

    before: int
    floor: int
    uncapped: int
    """What the strongest wish asked for, before any limit."""
    source: Source
    reason: Reason | None
    """Why the floor moves, in one word; None where it does not."""
    message: str
    """One sentence or two: why, which source won, which limits cut it, what the forecast leans on."""
    limits: tuple[Limit, ...]
    """Every rule that cut or held the strongest wish, in the order in which they did."""
    recommendations: tuple[Recommendation, ...]
    """All wishes, also of sources that had to stay silent."""
    state: DecisionState
    """What to remember; memory.floor is already `floor` (an unsuccessful write puts the old memory back).

    While the policy is frozen (paused, in conflict, Off) memory.floor stays what it was.
    """
    paused: str | None = None
    """Reason word of the Paused condition while the policy is paused; None while it is not."""
    event: str | None = None
    """The event whose wish won, or None."""
    fallback: bool = False
    """Whether spec.fallback.behavior takes part."""
    quantile: float | None = None
    """The quantile of the forecast floor; None where there is no forecast floor."""
    forecast_value: float | None = None
    """The demand that the forecast floor was made from, in the unit of the series."""
    forecast_at: datetime | None = None
    """When that demand is expected: the beginning of its bin."""
    limited: bool = False
    """The strongest wish lies above the effective maximum (semantics 14)."""
    pause: Pause = NO_PAUSE
    """Who told us to keep still or to go one way only, in words: for the condition Paused."""

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.floor != self.before
