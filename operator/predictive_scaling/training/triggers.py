"""When a series is trained, and why: pure, one rule a cause."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from forecasting.context import CalendarContext
from forecasting.quality.drift import BEYOND, Drift
from predictive_scaling.models.manifest import Manifest


class Cause(StrEnum):
    """Why, the most urgent first."""

    NO_MODEL = "no_model"
    ACCURACY = "accuracy"
    PLACE = "place"
    PATTERN = "pattern"
    EVENT_TYPES = "event_types"
    INTERVAL = "interval"


@dataclass(frozen=True, slots=True)
class RetrainPolicy:
    """How often at most, and how much is enough.

    interval: between two trainings that nothing calls for. spacing: between two attempts, whatever calls for them.
    settling: so old must a model be before evidence counts against it: much of what is measured was its forerunner's.
    enough_history: observed demand that a first training needs. points: by how much the MAPE may rise, a ratio.
    """

    interval: timedelta
    spacing: timedelta
    settling: timedelta
    enough_history: timedelta = timedelta(days=2)
    points: float = 0.05

    @classmethod
    def of(cls, interval: timedelta) -> "RetrainPolicy":
        """An hour between attempts, half an interval to settle; less where the interval is short."""
        return cls(interval, spacing=min(timedelta(hours=1), interval), settling=interval / 2)


@dataclass(frozen=True, slots=True)
class SeriesState:
    """What is known of a series now.

    observed: the span of demand that was seen of it. tried_at: the last attempt to train it. turned_back_at: when a
    person went back to the model in use. mape: of the last day's live forecasts, a ratio. event_types: of the
    announced events that have begun by now. places: where its policies say that demand comes from.
    """

    now: datetime
    observed: timedelta
    model: Manifest | None = None
    tried_at: datetime | None = None
    rolled_back_at: datetime | None = None
    mape: float | None = None
    drift: Drift | None = None
    event_types: frozenset[str] = frozenset()
    calendars: frozenset[CalendarContext] = frozenset()


@dataclass(frozen=True, slots=True)
class Trigger:
    """evidence: one sentence with the numbers."""

    cause: Cause
    evidence: str

    @property
    def urgency(self) -> int:
        """0 is the most urgent."""
        return list(Cause).index(self.cause)


def trigger(state: SeriesState, policy: RetrainPolicy) -> Trigger | None:
    """Why the series should be trained now; None where it should not."""
    now = state.now
    if state.tried_at is not None and now - state.tried_at < policy.spacing:
        return None
    if state.rolled_back_at is not None and now - state.rolled_back_at < policy.interval:
        return None
    model = state.model
    if model is None:
        return _first(state, policy)
    if (moved := _calendar(state, model)) is not None:
        return moved
    is_settled = now - model.trained_until >= policy.settling
    was_tried = state.tried_at is not None and now - state.tried_at < policy.settling
    for rule in RULES if is_settled and not was_tried else ():
        found = rule(state, model, policy)
        if found is not None:
            return found
    return _interval(state, model, policy)


def _first(state: SeriesState, policy: RetrainPolicy) -> Trigger | None:
    if state.observed < policy.enough_history:
        return None
    return Trigger(Cause.NO_MODEL, f"there is no model, and {_hours(state.observed)} of demand to learn from")


def _accuracy(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    baseline = next((score.mape for score in model.gate.scores if score.model == model.gate.acting), None)
    if baseline is None or state.mape is None or state.mape <= baseline + policy.points:
        return None
    rise = (state.mape - baseline) * 100
    return Trigger(
        Cause.ACCURACY,
        f"MAPE of the last day is {state.mape:.1%}, {rise:.1f} points over the {baseline:.1%} of its training",
    )


def _calendar(state: SeriesState, model: Manifest) -> Trigger | None:
    """Nothing to wait for: until then another model answers."""
    if not state.calendars or model.calendar in state.calendars:
        return None
    wanted = " and ".join(str(place) for place in sorted(state.calendars))
    return Trigger(Cause.PLACE, f"it learned by the clocks of {model.calendar}; policies now say {wanted}")


def _pattern(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    found = state.drift
    if found is None or not found.has_changed:
        return None
    return Trigger(
        Cause.PATTERN,
        f"demand since {found.since:%Y-%m-%dT%H:%M}Z is {found.distance:.2f} from its usual course in logarithms, more "
        f"than {BEYOND:g} times the {found.usual:.2f} of any of the {found.days} days before",
    )


def _event_types(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    new = sorted(state.event_types - set(model.event_types))
    if not new:
        return None
    return Trigger(Cause.EVENT_TYPES, f"events of types that its training did not see: {', '.join(new)}")


def _interval(state: SeriesState, model: Manifest, policy: RetrainPolicy) -> Trigger | None:
    age, tried = state.now - model.trained_until, state.tried_at
    if age < policy.interval or (tried is not None and state.now - tried < policy.interval):
        return None
    return Trigger(Cause.INTERVAL, f"the model's data end {_hours(age)} ago, the interval is {_hours(policy.interval)}")


RULES: tuple[Callable[[SeriesState, Manifest, RetrainPolicy], Trigger | None], ...] = (
    _accuracy,
    _pattern,
    _event_types,
)
"""Evidence against a model, the most urgent first."""


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):.0f} h"
