"""BusinessEvent: a time at which demand differs, and by how much."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from predictive_scaling.resources.event_time import Date, Moment
from predictive_scaling.resources.matching import Matching
from predictive_scaling.resources.metadata import Metadata, PolicyKey
from predictive_scaling.resources.part import Part, read
from predictive_scaling.resources.quantities import DecimalBetween, DurationBetween
from predictive_scaling.resources.recurrence import Recurrence
from predictive_scaling.resources.rules import Rule
from predictive_scaling.resources.scaling_policy import MAX_REPLICAS

MAX_EXCLUDED_DATES = 366
_LABEL_KEY = r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_WORD = r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"

LabelValue = Annotated[
    str,
    Matching(rf"^({_WORD})?$", "must be a label value: letters, digits, '-', '_' and '.'", max_length=63, min_length=0),
]
EventType = Annotated[str, Matching(rf"^{_WORD}$", "must be a word such as flash-sale", max_length=63)]


class PolicySelector(Part):
    """Selects ScalingPolicies of the event's namespace, by labels or all of them."""

    match_labels: Annotated[dict[str, LabelValue] | None, Field(max_length=16)] = None
    """Labels that a policy must have. At least one; use all: true to select every policy."""

    all: bool = False
    """Selects every ScalingPolicy of the namespace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.matchLabels) != self.all",
            holds=lambda policies: (policies.match_labels is not None) != policies.all,
            message="either matchLabels or all: true must be set, not both",
        ),
        Rule(
            cel=f"!has(self.matchLabels) || self.matchLabels.all(key, key.matches(r'{_LABEL_KEY}'))",
            holds=lambda policies: all(re.fullmatch(_LABEL_KEY, key) for key in policies.match_labels or ()),
            message="must have label names as keys, such as tier or app.kubernetes.io/part-of",
            field="matchLabels",
        ),
        Rule(
            cel="!has(self.matchLabels) || size(self.matchLabels) > 0",
            holds=lambda policies: policies.match_labels is None or len(policies.match_labels) > 0,
            message="must have at least one label; use all: true to select every policy",
            field="matchLabels",
        ),
    )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a policy with these labels is selected."""
        return self.all or all(labels.get(key) == value for key, value in (self.match_labels or {}).items())


class Expectation(Part):
    """Expected change of demand: a multiplier, or a floor in replicas."""

    multiplier: Annotated[float | None, DecimalBetween("0.1", "100", optional=True)] = None
    """Factor of demand, as a string between "0.1" and "100". It applies to the last forecast made before the event
    began to act."""

    min_replicas: Annotated[int | None, Field(ge=0, le=MAX_REPLICAS)] = None
    """Floor during the event, in replicas, reached at its start."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="!(has(self.multiplier) && has(self.minReplicas))",
            holds=lambda expect: expect.multiplier is None or expect.min_replicas is None,
            message="choose multiplier or minReplicas, not both",
            field="multiplier",
        ),
    )


class BusinessEventSpec(Part):
    """Time, selected policies and expected effect of the event."""

    type: EventType | None = None
    """Type such as flash-sale. The effect of earlier events of a type is learned and applied to later ones. Without a
    type nothing is learned."""

    start: Moment | None = None
    """Start of the event, as an RFC 3339 time with an offset, such as 2026-11-27T08:00:00+01:00. Requires end."""

    end: Moment | None = None
    """End of the event, exclusive."""

    recurrence: Recurrence | None = None
    """Recurrence of the event. Excludes start and end."""

    exclude_dates: Annotated[
        tuple[Date, ...], Field(max_length=MAX_EXCLUDED_DATES, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Local dates on which the event does not take place, such as 2026-12-25. At most 366."""

    policies: PolicySelector
    """ScalingPolicies of the namespace that the event acts on."""

    expect: Expectation = Field(default_factory=Expectation)
    """Expected effect: a multiplier of demand or a floor in replicas. If empty, the effect of earlier events of the
    type is used."""

    suppress_forecast: bool = False
    """Whether the event may lower the floor below the forecast, as for a planned outage."""

    ramp_up: Annotated[timedelta, DurationBetween("0s", "24h")] = timedelta()
    """Time over which demand rises before the start. The floor rises with it, one lead time earlier. Without a ramp, a
    learned effect follows its learned course."""

    ramp_down: Annotated[timedelta, DurationBetween("0s", "24h")] = timedelta()
    """Time over which demand falls after the end."""

    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Where events overlap, the highest priority applies; among equals, the highest floor."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.recurrence) ? !has(self.start) && !has(self.end) : has(self.start) && has(self.end)",
            holds=lambda event: (
                [event.start is not None, event.end is not None, event.recurrence is not None]
                in ([True, True, False], [False, False, True])
            ),
            message="either start and end, or recurrence must be set",
        ),
        Rule(
            cel="!has(self.start) || !has(self.end) || self.end > self.start",
            holds=lambda event: event.start is None or event.end is None or event.end > event.start,
            message="must be after start",
            message_cel="'end (%s) must be after start (%s)'.format([self.end, self.start])",
            field="end",
        ),
    )


class BusinessEvent(Part):
    """A time at which demand differs: a sale, a match, a campaign, a nightly batch, a planned outage."""

    model_config = Part.model_config | {"extra": "ignore"}

    metadata: Metadata
    spec: BusinessEventSpec

    @property
    def key(self) -> PolicyKey:
        """The namespace and name of the event."""
        return PolicyKey(self.metadata.namespace, self.metadata.name)

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether it selects a policy of that namespace with these labels."""
        return namespace == self.metadata.namespace and self.spec.policies.selects(labels)


def parse_event(body: Mapping[str, Any]) -> BusinessEvent:
    """Return the typed BusinessEvent of a manifest.

    Raises InvalidManifestError with each invalid field, its value and what is allowed.
    """
    return read(BusinessEvent, body)
