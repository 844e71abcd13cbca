"""What a policy tells of its demand beside the numbers."""

from datetime import UTC, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from forecasting.context import Context
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
