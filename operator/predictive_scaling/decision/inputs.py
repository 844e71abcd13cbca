"""The input of a decision, and the decision. The same situation always gives the same decision."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from forecasting.events import LearnedEffect
from forecasting.forecast import Forecast
from forecasting.series import Outlier
from predictive_scaling.decision.events.windows import EventWindow
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
    "RaiseHold",
    "Reason",
    "Recommendation",
    "Situation",
    "Source",
    "Tuned",
]


@dataclass(frozen=True, slots=True)
class TargetPause:
    """A pause that a person put on the target itself, such as an annotation of KEDA."""

    cause: str
    """A clause that names what pauses it."""
    direction: Direction | None = None
    """The only direction in which the target still scales; None if it does not scale at all."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The current state of a target, as each adapter in targets/ returns it."""

    uid: str
    minimum: int
    """The field that the operator owns: minReplicas of an HPA, minReplicaCount of a ScaledObject, replicas of a
    workload, MinSize of a group."""
    maximum: int | None
    """The target's own maximum; None where it has none."""
    current_replicas: int
    """Desired or existing replicas, whichever the target counts: spec.replicas of its workload."""
    ready_replicas: int
    target_utilization: float | None
    """The utilization that the target's own autoscaler aims at, as a fraction of a replica; None where it has none."""
    utilization: float | None
    """The utilization that its newest metric reports, as a fraction of a replica; None where unknown."""
    scaled_to_zero: bool
    """A person scaled it to zero: maintenance (semantics 24)."""
    owner: str | None
    """The controller that owns the target, such as `ScaledObject/checkout`; None for none."""
    floor_managers: tuple[str, ...]
    """Field managers of the field that the operator writes, newest write first; includes the operator's own."""
    floor_field: str = "minReplicas"
    """Name of that field in the target's manifest."""
    foreign_write: str | None = None
    """The newest write of that field by another manager, in a text that differs for each write; None for none."""
    floor_given_up: bool = False
    """The minimum is the API's default: the manager that set it last removed the field from the manifest."""
    pause: TargetPause | None = None
    """The target's own pause; None without one."""
    missing: str | None = None
    """What the target needs and does not exist, with the remedy, as a sentence; None if it is complete."""
    is_scaled_directly: bool = False
    """The field is the number of replicas itself: no other autoscaler acts above it."""
    template: str = ""
    """A text that differs for each release of the workload's pods; empty where unknown."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The newest observed demand."""

    value: float
    at: datetime
    """The end of the minute that the value covers."""


class ForecastSource(StrEnum):
    """The origin of a forecast, best first: the order of the fallback chain (semantics 8)."""

    FRESH = "FreshForecast"
    LAST = "LastForecast"
    LAST_WEEK = "SameTimeLastWeek"


@dataclass(frozen=True, slots=True)
class CurrentForecast:
    """The best available forecast and its source."""

    forecast: Forecast
    valid_until: datetime
    source: ForecastSource


@dataclass(frozen=True, slots=True)
class EventBaseline:
    """An occurrence that affects the policy, with the forecast made before it started to act."""

    window: EventWindow
    baseline_forecast: Forecast | None
    """Demand without the event, so that the multiplier does not count twice.

    None where there is none: a multiplier then cannot be applied, and the recommendation says so. Where it ends before
    the event does, its last bin continues.
    """
    learned: LearnedEffect | None = None
    """The effect of earlier events of the type on this demand; None while there are too few."""
    is_pending: bool = False
    """The baseline is being forecast, as for an event that was just created or moved."""


@dataclass(frozen=True, slots=True)
class FloorChange:
    """A change of the floor by the operator; the steps of a period are counted from these."""

    at: datetime
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class DecisionState:
    """The state of a policy between two decisions; decide() returns the next one.

    After a restart `DecisionState(since=now, floor=…)` is enough: the floor is then not lowered until a full
    stabilization window has been observed.
    """

    since: datetime
    """Start of the uninterrupted data; the floor is not lowered before a full stabilization window has passed."""
    floor: int | None = None
    """The held floor: the last applied one, or in Recommend the recommended one. None before the first decision."""
    recommendations: tuple[tuple[datetime, int], ...] = ()
    """Strongest recommendations of the stabilization window, highest first, without those below a later one."""
    changes: tuple[FloorChange, ...] = ()
    """Changes of the last period, oldest first."""
    no_forecast_since: datetime | None = None
    """Since when no forecast source has a forecast; None while one has."""
    reference_forecast: Forecast | None = None
    """The newest forecast made while demand was as expected: the reference for an outage (semantics 10)."""
    floor_source: Source | None = None
    """The source that last recommended the full floor; explains a decrease when its recommendation ends."""

    def shifted(self, by: timedelta) -> "DecisionState":
        """Return the state with all of its times moved, after the clock was stepped."""
        return replace(
            self,
            since=self.since + by,
            recommendations=tuple((at + by, replicas) for at, replicas in self.recommendations),
            changes=tuple(replace(change, at=change.at + by) for change in self.changes),
            no_forecast_since=None if self.no_forecast_since is None else self.no_forecast_since + by,
        )


@dataclass(frozen=True, slots=True)
class Tuned:
    """The quantile with the lowest cost over the policy's last days, at the policy's prices."""

    quantile: float
    why: str
    """A phrase that follows the quantile's name: `chosen for …`."""


@dataclass(frozen=True, slots=True)
class RaiseHold:
    """Back-off after a raise that did harm: until its end the floor rises only with the current demand.

    A changed policy (generation) or a new release of the pods (template) ends it.
    """

    floor: int
    """The floor before the raise."""
    raised_to: int
    """The lowest floor that did harm. A successful raise ends the back-off only if it reaches this floor."""
    until: datetime
    failures: int
    """Raises that did harm in a row; the back-off doubles with each."""
    generation: int
    template: str
    cause: str
    message: str
    is_reverted: bool = False
    """Whether the floor was lowered since; afterwards the usual rules lower it."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision depends on."""

    now: datetime
    policy: ScalingPolicy
    observed: Observed
    state: DecisionState
    current_forecast: CurrentForecast | None
    demand: Demand | None
    events: tuple[EventBaseline, ...]
    lead_time: timedelta
    margin: timedelta
    """How much further than the lead time the window ahead reaches: the time until the next forecast, and at least
    five minutes, the shortest bin: demand at the end of a bin may exceed the mean of the bin."""
    metrics_max_age: timedelta
    per_replica: float | None
    """Demand that one ready replica serves at 100 % utilization: from the policy, or measured; None while unknown."""
    conflict: str | None = None
    """The other writer or policy that controls the target, as a sentence; None without a conflict."""
    tuned: Tuned | None = None
    """For a policy with an objective; None until its past days have been analyzed."""
    lost_floor: int | None = None
    """The held floor when the target's minimum fell to the API's default; None where none was lost."""
    forecast_failure: str | None = None
    """Why existing forecasts could not be used in this reconcile; None without a failure."""
    raise_hold: RaiseHold | None = None
    """The last raise that did harm; None where there was none, or the policy or its pods changed since."""
    outlier: Outlier | None = None
    """The newest minute of the last hour that was excluded as an outlier; None where there is none."""
    suggestion: str | None = None
    """The nearest recorded series, as a clause; None with demand, and where no series is near."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A floor recommended by one source, in replicas, and the reason as a sentence."""

    replicas: int
    source: Source
    why: str
    always_writes: bool = False
    """Event floors and fallbacks bypass the dead band (semantics 5)."""
    event: str | None = None
    """Name of the event; None for other sources."""
    demand: float | None = None
    """The demand behind the recommendation, in the unit of the series; None where it is not based on demand."""
    at: datetime | None = None
    """Time at which that demand is expected."""
    applies: bool = True
    """False where the source cannot recommend a floor, such as a multiplier without a baseline; see `why`."""


class PauseReason(StrEnum):
    """Reasons of the condition Paused."""

    SUSPENDED = "Suspended"
    ANNOTATED = "PausedByAnnotation"
    TARGET_PAUSED = "TargetPaused"
    SCALED_TO_ZERO = "TargetScaledToZero"
    PINNED = "Pinned"
    UP_ONLY = "UpOnly"
    DOWN_ONLY = "DownOnly"
    INVALID = "InvalidAnnotation"
    NOT_PAUSED = "NotPaused"


@dataclass(frozen=True, slots=True)
class Pause:
    """Restrictions that people, the target or a conflict put on the floor."""

    freezes: bool = False
    """Nothing is written, not even to restore bounds."""
    reason: PauseReason | None = None
    """None if the policy is not paused (mode Off and conflicts have their own conditions)."""
    message: str = ""
    pin: int | None = None
    direction: Direction | None = None
    errors: tuple[str, ...] = ()
    """Annotations that cannot be parsed."""

    @property
    def pauses(self) -> bool:
        """Whether the condition Paused is True: the floor does not follow demand at all."""
        return self.reason is not None and (self.freezes or self.pin is not None)


NO_PAUSE = Pause()


@dataclass(frozen=True, slots=True)
class Decision:
    """The new floor, and everything that explains it."""

    before: int
    floor: int
    uncapped: int
    """The strongest recommendation before any limit."""
    source: Source
    reason: Reason | None
    """Why the floor changes, as one word; None where it does not."""
    message: str
    """One or two sentences: the strongest recommendation, the limits that cut it, contributions to the forecast."""
    limits: tuple[Limit, ...]
    """Every rule that cut or held the strongest recommendation, in order of application."""
    recommendations: tuple[Recommendation, ...]
    """All recommendations, including those that do not apply."""
    state: DecisionState
    """The state for the next decision; state.floor is already `floor` (a failed write restores the old state).

    While the policy is frozen (paused, in conflict, Off) state.floor does not change.
    """
    paused: str | None = None
    """Reason of the condition Paused while the policy is paused; None while it is not."""
    event: str | None = None
    """The event with the strongest recommendation; None where another source has it."""
    fallback: bool = False
    """Whether spec.fallback.behavior is active."""
    quantile: float | None = None
    """The quantile of the forecast recommendation; None where there is none."""
    forecast_value: float | None = None
    """The demand behind the forecast recommendation, in the unit of the series."""
    forecast_at: datetime | None = None
    """Time at which that demand is expected: the start of its bin."""
    limited: bool = False
    """The strongest recommendation exceeds the effective maximum (semantics 14)."""
    pause: Pause = NO_PAUSE
    """Active restrictions, for the condition Paused."""

    @property
    def changes(self) -> bool:
        """Whether the floor has to be written."""
        return self.floor != self.before
