"""Reports declared multipliers that prove wrong while their event acts: status, Event and metric (semantics 20)."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import structlog
from prometheus_client import Gauge

from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.cluster.kubernetes_events import EventReason, KubernetesEvents
from predictive_scaling.control.current_forecasts import ForecastProvider, ForecastRequirement
from predictive_scaling.control.demand_window import DemandWindow, whole_minute
from predictive_scaling.control.event_calendar import EventCalendar
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.decision.events.multiplier_review import MultiplierReview, review_multiplier, summary_of
from predictive_scaling.decision.events.occurrences import Expansion
from predictive_scaling.decision.events.windows import EventWindow, event_window
from predictive_scaling.decision.inputs import EventBaseline
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.conditions import UNJUDGED, Condition
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.statuses import MAX_OBSERVED, BusinessEventStatus, ObservedMultiplier
from predictive_scaling.resources.vocabulary import ConditionStatus, EventConditionType, MultiplierVerdict
from predictive_scaling.storage.business_events import ObservedOccurrence

log = structlog.get_logger(__name__)

WRONG = Gauge(
    "predictive_scaling_event_multipliers_wrong",
    "BusinessEvents whose declared multiplier proved wrong, until their spec changes or a later occurrence agrees.",
    ["reason"],
)
_BATCH_SIZE = 20
_WRONG_REASONS: Mapping[str, EventReason] = {
    MultiplierVerdict.TOO_LOW.value: EventReason.MULTIPLIER_TOO_LOW,
    MultiplierVerdict.TOO_HIGH.value: EventReason.MULTIPLIER_TOO_HIGH,
}

_ReviewName = tuple[str, PolicyKey, datetime, float]
"""The uid of an event, a policy, the start of an occurrence and the declared multiplier."""


@dataclass(frozen=True, slots=True)
class EventReview:
    """What the newest occurrence of an event did to the demand of its policies, by the names of the policies."""

    start: datetime
    declared: float
    reviews: Mapping[str, MultiplierReview]

    @property
    def observed(self) -> tuple[ObservedMultiplier, ...]:
        """The highest multipliers, for the status."""
        highest = sorted(self.reviews.items(), key=lambda named: (-named[1].multiplier, named[0]))[:MAX_OBSERVED]
        return tuple(
            ObservedMultiplier(policy=name, multiplier=round(review.multiplier, 1), until=review.until)
            for name, review in highest
        )


@dataclass(slots=True)
class MultiplierReviews:
    """The reviews of all occurrences that act now. It only reads: no floor depends on a review."""

    states: PolicyStates
    forecasts: ForecastProvider
    window: DemandWindow
    events: KubernetesEvents
    _kept: dict[_ReviewName, tuple[datetime, MultiplierReview | None]] = field(
        default_factory=dict[_ReviewName, tuple[datetime, MultiplierReview | None]]
    )
    """By name: the minute of the newest review, and the review."""

    async def review(
        self,
        records: Sequence[EventRecord],
        matched: Mapping[str, Sequence[PolicyKey]],
        calendar: EventCalendar,
        now: datetime,
    ) -> dict[str, EventReview]:
        """Return the reviews of the events with a declared multiplier, by uid. Yields to other tasks in between."""
        states, minute = self.states.by_key(), whole_minute(now)
        expansions = _expansions_by_policy(records, matched, calendar)
        reviews: dict[str, EventReview] = {}
        reviewed: dict[_ReviewName, tuple[datetime, MultiplierReview | None]] = {}
        for position, (record, key) in enumerate(((r, key) for r in records for key in matched[r.uid]), start=1):
            if position % _BATCH_SIZE == 0:
                await asyncio.sleep(0)
            requirement = states[key].requirement if key in states else None
            if record.event is None or requirement is None:
                continue
            try:
                for name, review in self._reviews(record.uid, record.event, requirement, expansions[key], minute):
                    reviewed[name] = minute, review
                    if review is not None:
                        reviews[record.uid] = _with_review(reviews.get(record.uid), name, review)
            except Exception:  # a failure of one policy affects neither its event nor other policies
                log.exception("multiplier_not_reviewed", policy=str(key), event_name=record.name)
        self._kept = reviewed
        return reviews

    def report(self, record: EventRecord, before: BusinessEventStatus, after: BusinessEventStatus) -> None:
        """Send an Event if the written status reports another wrong multiplier than the one before."""
        condition = _condition(after)
        if condition is None or (reason := _WRONG_REASONS.get(condition.reason)) is None:
            return
        earlier = _condition(before)
        if earlier is None or earlier.reason != condition.reason:
            self.events.emit(record, reason, condition.message)

    def _reviews(
        self,
        uid: str,
        event: BusinessEvent,
        requirement: ForecastRequirement,
        expansions: Sequence[Expansion],
        minute: datetime,
    ) -> list[tuple[_ReviewName, MultiplierReview | None]]:
        """Return a review for each occurrence of the event that acts on the demand of the policy now."""
        declared = event.spec.expect.multiplier
        acting = [window for window in requirement.occurrences if _is_of(event, window) and window.span.start < minute]
        if declared is None or not acting:
            return []
        names = [
            ((uid, requirement.key, baseline.window.occurrence.start, declared), baseline)
            for baseline in self.forecasts.baselines(requirement, minute)
            if any(baseline.window is window for window in acting)
        ]
        return [(name, self._review(name, requirement, expansions, baseline, minute)) for name, baseline in names]

    def _review(
        self,
        name: _ReviewName,
        requirement: ForecastRequirement,
        expansions: Sequence[Expansion],
        baseline: EventBaseline,
        minute: datetime,
    ) -> MultiplierReview | None:
        reviewed_at, before = self._kept.get(name, (None, None))
        window, forecast = baseline.window, baseline.baseline_forecast
        if reviewed_at == minute or forecast is None or forecast.origin > window.span.start:
            return before
        demand = self.window.minutes(requirement.series, whole_minute(window.span.start), minute)
        if not requirement.policy.spec.demand.zero_is_valid:
            demand = np.where(demand > 0, demand, np.nan)
        others = _other_spans(window, expansions, minute)
        return review_multiplier(window, name[-1], forecast, demand, others, before and before.verdict)


def _expansions_by_policy(
    records: Sequence[EventRecord], matched: Mapping[str, Sequence[PolicyKey]], calendar: EventCalendar
) -> dict[PolicyKey, list[Expansion]]:
    expansions = defaultdict[PolicyKey, list[Expansion]](list)
    for record in records:
        expansion = calendar.expansion(record.uid)
        if expansion is not None and expansion.problem is None:
            for key in matched[record.uid]:
                expansions[key].append(expansion)
    return expansions


def _other_spans(window: EventWindow, expansions: Sequence[Expansion], minute: datetime) -> list[Span]:
    """Return the spans of all other occurrences since the window began, also of those that have ended."""
    return [
        event_window(expansion.event, occurrence).span
        for expansion in expansions
        for occurrence in expansion.overlapping(window.span.start, minute)
        if (expansion.event.key, occurrence) != (window.event.key, window.occurrence)
    ]


def _with_review(known: EventReview | None, name: _ReviewName, review: MultiplierReview) -> EventReview:
    """Return the review of the event with one more policy; the latest occurrence counts."""
    _, key, start, declared = name
    if known is not None and known.start > start:
        return known
    others = known.reviews if known is not None and known.start == start else {}
    return EventReview(start, declared, {**others, key.name: review})


def observed_occurrence(record: EventRecord, review: EventReview) -> ObservedOccurrence:
    """Return the row of a review."""
    summary = summary_of(review.reviews, review.declared)
    highest = max(policy_review.multiplier for policy_review in review.reviews.values())
    verdict = summary[0].value if summary else None
    return ObservedOccurrence(record.namespace, record.name, review.start, round(highest, 4), verdict)


def condition_of(
    record: EventRecord, review: EventReview | None, before: BusinessEventStatus
) -> tuple[Condition | None, tuple[ObservedMultiplier, ...]]:
    """Return the condition MultiplierAccurate and the observed multipliers for the status of an event.

    The condition is None where that of `before` stays: after an occurrence its result is kept until the spec changes.
    """
    event = record.event
    if event is None or event.spec.expect.multiplier is None:
        return _unknown(record, "NoMultiplier", "spec.expect.multiplier is not set"), ()
    if review is None or (summary := summary_of(review.reviews, review.declared)) is None:
        earlier = _condition(before)
        if earlier is None or earlier.observed_generation != record.generation or earlier.reason == "NoMultiplier":
            message = "no occurrence has been compared with this multiplier yet"
            return _unknown(record, UNJUDGED, message), review.observed if review else ()
        return None, before.observed if review is None else review.observed
    verdict, message = summary
    status = ConditionStatus.TRUE if verdict is MultiplierVerdict.AS_DECLARED else ConditionStatus.FALSE
    return _new_condition(record, status, verdict.value, message), review.observed


def count_wrong(statuses: Iterable[BusinessEventStatus]) -> None:
    """Set the metric from the statuses of all events."""
    reasons = [condition.reason for status in statuses if (condition := _condition(status)) is not None]
    for reason in _WRONG_REASONS:
        WRONG.labels(reason).set(reasons.count(reason))


def _condition(status: BusinessEventStatus) -> Condition | None:
    type_ = EventConditionType.MULTIPLIER_ACCURATE
    return next((condition for condition in status.conditions if condition.type == type_), None)


def _unknown(record: EventRecord, reason: str, message: str) -> Condition:
    return _new_condition(record, ConditionStatus.UNKNOWN, reason, message)


def _new_condition(record: EventRecord, status: ConditionStatus, reason: str, message: str) -> Condition:
    type_ = EventConditionType.MULTIPLIER_ACCURATE.value
    return Condition(type=type_, status=status, reason=reason, message=message, observed_generation=record.generation)


def _is_of(event: BusinessEvent, window: EventWindow) -> bool:
    """Whether the window is an occurrence of the event with the multiplier that it declares now."""
    other = window.event
    return event.key == other.key and event.spec.expect.multiplier == other.spec.expect.multiplier
