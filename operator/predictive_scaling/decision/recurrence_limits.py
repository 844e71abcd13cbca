"""Rules that never come true: dateutil would look for their next occurrence up to the year 9999."""

from functools import lru_cache

from predictive_scaling.resources.recurrence import Recurrence

_DAYS = {1: 31, 2: 29, 3: 31, 4: 30, 5: 31, 6: 30, 7: 31, 8: 31, 9: 30, 10: 31, 11: 30, 12: 31}
_RANGES = {"BYMONTH": 12, "BYMONTHDAY": 31, "BYWEEKNO": 53, "BYYEARDAY": 366}
_PERIODS = {"BYMONTH": "year", "BYMONTHDAY": "month", "BYWEEKNO": "year", "BYYEARDAY": "year"}
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
    beyond = next((name for name, most in _RANGES.items() if _least(parts, name) > most), None)
    if beyond:
        return f"recurrence.rrule {rule} asks for what no {_PERIODS[beyond]} has; {beyond} is at most {_RANGES[beyond]}"
    if _no_such_day(parts):
        return f"recurrence.rrule {rule} names a day that no month of it has; correct BYMONTHDAY or BYMONTH"
    if parts["FREQ"] in _DAILY and int(parts.get("INTERVAL", "1")) > 1 and any(name in parts for name in _BY_DAY):
        return f"recurrence.rrule {rule} may skip all of its days; name them with FREQ WEEKLY, MONTHLY or YEARLY"
    if ("BYWEEKNO" in parts or "BYYEARDAY" in parts) and ("BYMONTH" in parts or "BYMONTHDAY" in parts):
        return f"recurrence.rrule {rule} names days in two ways; keep BYMONTH and BYMONTHDAY, or the other"
    if _least(parts, "BYSETPOS") > _most_in_a_period(parts):
        return f"recurrence.rrule {rule} picks by BYSETPOS what no period of it has; correct BYSETPOS"
    return None


def _least(parts: dict[str, str], name: str) -> int:
    """The smallest number, without its sign, that a part lists; 0 where there is no such part."""
    return min((abs(int(number)) for number in parts[name].split(",")), default=0) if name in parts else 0


def _no_such_day(parts: dict[str, str]) -> bool:
    months = [int(month) for month in parts["BYMONTH"].split(",")] if "BYMONTH" in parts else list(_DAYS)
    return _least(parts, "BYMONTHDAY") > max(_DAYS.get(month, 0) for month in months)


def _most_in_a_period(parts: dict[str, str]) -> int:
    weekdays = len(parts["BYDAY"].split(",")) if "BYDAY" in parts else 0
    match parts["FREQ"]:
        case "WEEKLY":
            return weekdays or 1
        case "MONTHLY":
            return weekdays * 5 if weekdays else len(parts.get("BYMONTHDAY", "1").split(","))
        case "YEARLY":
            return _RANGES["BYYEARDAY"]
        case _:
            return 0
