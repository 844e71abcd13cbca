"""A column of the feature matrix, and the families that explanations name. Separate, so that columns share them."""

from dataclasses import dataclass
from datetime import timedelta

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

RECENT = "demand of the last 30 minutes"
DAY_SHAPE = "demand of the last day"
YESTERDAY = "the same time on the days before"
LAST_WEEK = "the same time a week ago"
CLOCK = "the time of day"
CALENDAR = "the day of the week"
HOLIDAY = "public holidays"
AHEAD = "how far ahead"


@dataclass(frozen=True, slots=True)
class Feature:
    """A column: its name, and the family by which explanations group it."""

    name: str
    family: str


def abbreviated(duration: timedelta) -> str:
    """Return a duration as part of a column name.

    >>> abbreviated(timedelta(minutes=90)), abbreviated(timedelta(minutes=5))
    ('1h', '5m')
    """
    minutes = round(duration / MINUTE)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h"
