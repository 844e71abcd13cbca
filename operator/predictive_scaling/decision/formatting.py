"""Numbers and times as messages show them."""

from datetime import datetime

from predictive_scaling.resources.conditions import in_utc

_EXPONENT_FROM = 1e15
"""Larger numbers are written with an exponent."""


def amount(value: float) -> str:
    """Three significant digits, or all digits before the decimal point where there are more.

    >>> amount(6230.4), amount(700), amount(0.25), amount(9.2e18)
    ('6,230', '700', '0.25', '9.2e+18')
    """
    return f"{value:,.0f}" if 100 <= value < _EXPONENT_FROM else f"{value:.3g}"


def replicas(count: int) -> str:
    """A count with its noun.

    >>> replicas(1), replicas(1200)
    ('1 replica', '1,200 replicas')
    """
    return f"{count:,} replica" if count == 1 else f"{count:,} replicas"


def clock_time(moment: datetime) -> str:
    """Hours and minutes, in UTC.

    >>> clock_time(datetime.fromisoformat("2026-11-27T15:31+01:00"))
    '14:31'
    """
    return f"{in_utc(moment):%H:%M}"


def quantile_name(quantile: float) -> str:
    """The short name of a quantile.

    >>> quantile_name(0.9), quantile_name(0.999)
    ('p90', 'p99.9')
    """
    return f"p{quantile * 100:.10g}"
