"""The calendar of a policy, as forecasts use it."""

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from forecasting.context import Context
from predictive_scaling.resources.scaling_policy import ScalingPolicy


def forecast_context(policy: ScalingPolicy) -> Context:
    """The time zone and the public holidays of a policy."""
    return calendar_context(policy.spec.forecast.timezone, policy.spec.forecast.holidays)


def calendar_context(timezone: str | None, holidays: str | None) -> Context:
    """Return the calendar of a time zone and country by name, as stored in the table of published policies."""
    return Context(_zone(timezone), holidays or "")


@cache
def _zone(name: str | None) -> tzinfo:
    return ZoneInfo(name) if name else UTC
