"""What a policy tells of its demand beside the numbers."""

from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from forecasting.context import Context, KnownEvent
from predictive_scaling.decision.events.occurrences import expand
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.resources.business_event import BusinessEvent
from predictive_scaling.resources.scaling_policy import ScalingPolicy


def forecast_context(policy: ScalingPolicy) -> Context:
    """The zone and the public holidays of a policy, as forecasts take them."""
    return calendar_context(policy.spec.forecast.timezone, policy.spec.forecast.holidays)


def calendar_context(timezone: str | None, holidays: str | None) -> Context:
    """The same from names, as the mirror of policies keeps them."""
    return Context(_zone(timezone), holidays or "")


@cache
def _zone(name: str | None) -> tzinfo:
    return ZoneInfo(name) if name else UTC


def known_event(event: BusinessEvent, start: datetime, end: datetime) -> KnownEvent:
    """One occurrence."""
    return KnownEvent(event.spec.type or "", start, end, event.spec.expect.multiplier)


def known_events(events: Iterable[BusinessEvent], since: datetime, until: datetime) -> tuple[KnownEvent, ...]:
    """The occurrences that meet [since, until). Raises InvalidManifestError where one cannot be expanded as far."""
    found: list[KnownEvent] = []
    for event in events:
        expansion = expand(event, since, until)
        if expansion.problem is not None:
            raise InvalidManifestError(f"BusinessEvent {event.key}: {expansion.problem}")
        found += [known_event(event, it.start, it.end) for it in expansion.occurrences]
    return tuple(found)
