"""Decide whether a series must be trained, and why: pure, one rule per cause."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from forecasting.context import CalendarContext
from forecasting.quality.drift import CHANGE_FACTOR, Drift
from predictive_scaling.models.manifest import Manifest


class Cause(StrEnum):
    """Why a series is trained, most urgent first."""

    NO_MODEL = "no_model"
    ACCURACY = "accuracy"
    CALENDAR = "place"
    PATTERN = "pattern"
    EVENT_TYPES = "event_types"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True)
class RetrainPolicy:
    """Intervals and thresholds of retraining.

    interval: between regular trainings. spacing: minimum time between two attempts, for any cause. settling_time: the
    age at which evidence begins to count against a model; before, most measured errors are those of the previous model.
    min_history: observed demand that a first training needs. max_mape_rise: tolerated rise of the MAPE, a ratio.
    """

    interval: timedelta
    spacing: timedelta
    settling_time: timedelta
    min_history: timedelta = timedelta(days=2)
    max_mape_rise: float = 0.05

    @classmethod
    def of(cls, interval: timedelta) -> "RetrainPolicy":
        """Return a policy with an hour (at most an interval) between attempts and half an interval to settle."""
        return cls(interval, spacing=min(timedelta(hours=1), interval), settling_time=interval / 2)


@dataclass(frozen=True, slots=True)
class SeriesState:
    """The current state of a series.

    observed: span of its observed demand. model: in use; None without one. attempted_at: the last attempt to train it.
    rolled_back_at: when a person rolled back to the model in use. mape: of the live forecasts of the last day, a ratio.
    event_types: types of the announced events that have begun by now. calendars: those that its policies state.
    """

    now: datetime
    observed: timedelta
    model: Manifest | None = None
    attempted_at: datetime | None = None
    rolled_back_at: datetime | None = None
    mape: float | None = None
    drift: Drift | None = None
    event_types: frozenset[str] = frozenset()
    calendars: frozenset[CalendarContext] = frozenset()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A cause for a training. evidence: one sentence with the numbers."""

    cause: Cause
    evidence: str

    @property
    def urgency(self) -> int:
        """Rank of the cause; 0 is the most urgent."""
        return list(Cause).index(self.cause)


def trigger(state: SeriesState, policy: RetrainPolicy) -> Trigger | None:
    """Return why the series must be trained now; None if it must not be trained now."""
    now = state.now
    if state.attempted_at is not None and now - state.attempted_at < policy.spacing:
        return None
    if state.rolled_back_at is not None and now - state.rolled_back_at < policy.interval:
        return None
    model = state.model
    if model is None:
        return _first_training(state, policy)
    if (calendar_changed := _calendar(state, model)) is not None:
        return calendar_changed
    is_settled = now - model.trained_until >= policy.settling_time
    was_attempted = state.attempted_at is not None and now - state.attempted_at < policy.settling_time
    for rule in RULES if is_settled and not was_attempted else ():
        triggered = rule(state, model, policy)
        if triggered is not None:
            return triggered
    return _interval(state, model, policy)


def _first_training(state: SeriesState, policy: RetrainPolicy) -> Trigger | None:
    if state.observed < policy.min_history:
        return None
    return Trigger(Cause.NO_MODEL, f"there is no model, and {_hours(state.observed)} of demand to learn from")


def _accuracy(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    baseline = next((score.mape for score in model.gate.scores if score.model == model.gate.acting), None)
    if baseline is None or state.mape is None or state.mape <= baseline + policy.max_mape_rise:
        return None
    rise = (state.mape - baseline) * 100
    return Trigger(
        Cause.ACCURACY,
        f"MAPE of the last day is {state.mape:.1%}, {rise:.1f} points over the {baseline:.1%} of its training",
    )


def _calendar(state: SeriesState, model: Manifest) -> Trigger | None:
    """Compare the calendar of the model with those of the policies.

    The rule does not wait until the model has settled, because another model forecasts until it is trained again.
    """
    if not state.calendars or model.calendar in state.calendars:
        return None
    stated = " and ".join(str(calendar) for calendar in sorted(state.calendars))
    return Trigger(Cause.CALENDAR, f"it was trained for the calendar {model.calendar}; policies now state {stated}")


def _pattern(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    drift = state.drift
    if drift is None or not drift.has_changed:
        return None
    return Trigger(
        Cause.PATTERN,
        f"demand since {drift.since:%Y-%m-%dT%H:%M}Z is {drift.distance:.2f} from its usual pattern in logarithms, "
        f"more than {CHANGE_FACTOR:g} times the {drift.usual:.2f} of any of the {drift.days} days before",
    )


def _event_types(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    new = sorted(state.event_types - set(model.event_types))
    if not new:
        return None
    return Trigger(Cause.EVENT_TYPES, f"events of types that were not in its training: {', '.join(new)}")


def _interval(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    age, attempted_at = state.now - model.trained_until, state.attempted_at
    if age < policy.interval or (attempted_at is not None and state.now - attempted_at < policy.interval):
        return None
    return Trigger(
        Cause.INTERVAL, f"the model's data ended {_hours(age)} ago, the interval is {_hours(policy.interval)}"
    )


RULES: tuple[Callable[[SeriesState, Manifest, RetrainPolicy], Trigger | None], ...] = (
    _accuracy,
    _pattern,
    _event_types,
)
"""Rules that collect evidence against a model, most urgent first."""


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):.0f} h"
