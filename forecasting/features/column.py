"""What a column is, and the families by which explanations name them."""

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
    """A column: its name, and the family that explanations group it by."""

    name: str
    family: str


def short(duration: timedelta) -> str:
    """As it stands in a name.

    >>> short(timedelta(minutes=90)), short(timedelta(minutes=5))
    ('1h', '5m')
    """
    minutes = round(duration / MINUTE)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h"
