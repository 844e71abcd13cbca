"""Lengths of time as sentences hold them."""

from datetime import timedelta

_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def amount_of(what: str, span: timedelta) -> str:
    """So much of something, in the largest unit of which there are two at least.

    >>> amount_of("demand", timedelta()), amount_of("demand", timedelta(minutes=90))
    ('no demand', '90 minutes of demand')
    >>> amount_of("demand", timedelta(hours=30)), amount_of("demand", timedelta(days=2))
    ('30 hours of demand', '2 days of demand')
    """
    if span < timedelta(minutes=1):
        return f"no {what}"
    unit, name = next((it for it in _UNITS if span >= 2 * it[0]), _UNITS[-1])
    count = span // unit
    return f"{count} {name}{'s' if count > 1 else ''} of {what}"
