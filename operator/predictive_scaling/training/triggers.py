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
    places: frozenset[CalendarContext] = frozenset()


@dataclass(frozen=True, slots=True)
class Trigger:
    """evidence: one sentence with the numbers."""

    cause: Cause
    evidence: str

    @property
    def urgency(self) -> int:
        """0 is the most urgent."""
        return list(Cause).index(self.cause)


def trigger(standing: SeriesState, terms: RetrainPolicy) -> Trigger | None:
    """Why the series should be trained now; None where it should not."""
    now = standing.now
    if standing.tried_at is not None and now - standing.tried_at < terms.spacing:
        return None
    if standing.rolled_back_at is not None and now - standing.rolled_back_at < terms.interval:
        return None
    model = standing.model
    if model is None:
        return _first(standing, terms)
    if (moved := _place(standing, model)) is not None:
        return moved
    is_settled = now - model.trained_until >= terms.settling
    was_tried = standing.tried_at is not None and now - standing.tried_at < terms.settling
    for rule in RULES if is_settled and not was_tried else ():
        found = rule(standing, model, terms)
        if found is not None:
            return found
    return _interval(standing, model, terms)


def _first(standing: SeriesState, terms: RetrainPolicy) -> Trigger | None:
    if standing.observed < terms.enough_history:
        return None
    return Trigger(Cause.NO_MODEL, f"there is no model, and {_hours(standing.observed)} of demand to learn from")


def _accuracy(standing: SeriesState, model: Manifest, terms: RetrainPolicy) -> Trigger | None:
    baseline = next((score.mape for score in model.gate.scores if score.model == model.gate.acting), None)
    if baseline is None or standing.mape is None or standing.mape <= baseline + terms.points:
        return None
    rise = (standing.mape - baseline) * 100
    return Trigger(
        Cause.ACCURACY,
        f"MAPE of the last day is {standing.mape:.1%}, {rise:.1f} points over the {baseline:.1%} of its training",
    )


def _place(standing: SeriesState, model: Manifest) -> Trigger | None:
    """Nothing to wait for: until then another model answers."""
    if not standing.places or model.place in standing.places:
        return None
    wanted = " and ".join(str(place) for place in sorted(standing.places))
    return Trigger(Cause.PLACE, f"it learned by the clocks of {model.place}; policies now say {wanted}")


def _pattern(standing: SeriesState, model: Manifest, terms: RetrainPolicy) -> Trigger | None:
    found = standing.drift
    if found is None or not found.has_changed:
        return None
    return Trigger(
        Cause.PATTERN,
        f"demand since {found.since:%Y-%m-%dT%H:%M}Z is {found.distance:.2f} from its usual course in logarithms, more "
        f"than {BEYOND:g} times the {found.usual:.2f} of any of the {found.days} days before",
    )


def _event_types(standing: SeriesState, model: Manifest, terms: RetrainPolicy) -> Trigger | None:
    new = sorted(standing.event_types - set(model.event_types))
    if not new:
        return None
    return Trigger(Cause.EVENT_TYPES, f"events of types that its training did not see: {', '.join(new)}")


def _interval(standing: SeriesState, model: Manifest, terms: RetrainPolicy) -> Trigger | None:
    age, tried = standing.now - model.trained_until, standing.tried_at
    if age < terms.interval or (tried is not None and standing.now - tried < terms.interval):
        return None
    return Trigger(Cause.INTERVAL, f"the model's data end {_hours(age)} ago, the interval is {_hours(terms.interval)}")


RULES: tuple[Callable[[SeriesState, Manifest, RetrainPolicy], Trigger | None], ...] = (
    _accuracy,
    _pattern,
    _event_types,
)
"""Evidence against a model, the most urgent first."""


def _hours(span: timedelta) -> str:
    return f"{span / timedelta(hours=1):.0f} h"
