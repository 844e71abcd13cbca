"""Rules that never come true: dateutil would look for their next occurrence up to the year 9999."""

from functools import lru_cache

from predictive_scaling.resources.recurrence import Recurrence

_DAYS = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}
_DAILY = ("HOURLY", "DAILY")
_BY_DAY = ("BYDAY", "BYMONTHDAY", "BYMONTH", "BYYEARDAY", "BYWEEKNO")


def problem_of(recurrence: Recurrence) -> str | None:
    """Why a recurrence can never work as written, and what to write; None where nothing is wrong."""
    return _problem(recurrence.rrule)


@lru_cache(maxsize=4096)
def parts_of(rule: str) -> dict[str, str]:
    """The parts of an RRULE by name. Not to be changed: it is shared.

    >>> parts_of("FREQ=WEEKLY;BYDAY=FR")
    {'FREQ': 'WEEKLY', 'BYDAY': 'FR'}
    """
    return dict(part.split("=", 1) for part in rule.split(";"))


@lru_cache(maxsize=4096)
def _problem(rule: str) -> str | None:
    parts = parts_of(rule)
    if _no_such_day(parts):
        return f"recurrence.rrule {rule} names a day that no month of it has; correct BYMONTHDAY or BYMONTH"
    if parts["FREQ"] in _DAILY and "BYSETPOS" in parts:
        return f"recurrence.rrule {rule} has BYSETPOS, which needs FREQ WEEKLY, MONTHLY or YEARLY"
    if parts["FREQ"] in _DAILY and int(parts.get("INTERVAL", "1")) > 1 and any(name in parts for name in _BY_DAY):
        return f"recurrence.rrule {rule} may skip all of its days; name them with FREQ WEEKLY, MONTHLY or YEARLY"
    if ("BYWEEKNO" in parts or "BYYEARDAY" in parts) and ("BYMONTH" in parts or "BYMONTHDAY" in parts):
        return f"recurrence.rrule {rule} names days in two ways; keep BYMONTH and BYMONTHDAY, or the other"
    return None


def _no_such_day(parts: dict[str, str]) -> bool:
    if "BYMONTHDAY" not in parts:
        return False
    months = [int(month) for month in parts["BYMONTH"].split(",")] if "BYMONTH" in parts else list(_DAYS)
    days = [abs(int(day)) for day in parts["BYMONTHDAY"].split(",")]
    return min(days) > max(_DAYS[month] for month in months)
