"""The context of a series: time zone, country and known events."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """A past or future event in the half-open interval [start, end), both aware.

    type: the event is compared with earlier events of the same type; "" for no comparison. magnitude: the declared
    multiplier of demand; None if undeclared.
    """

    type: str
    start: datetime
    end: datetime
    magnitude: float | None = None


class CalendarContext(NamedTuple):
    """The names of a time zone and a country, as stored in the manifest of a model."""

    zone: str = "UTC"
    country: str = ""

    def __str__(self) -> str:
        return f"{self.zone}, holidays of {self.country}" if self.country else self.zone


@dataclass(frozen=True, slots=True)
class Context:
    """Time zone, country and events of a series.

    zone: time zone of the daily and weekly seasonality. country: ISO 3166 code of the public holidays, "" for none.
    events: known ahead of time, in any order; a forecast may use future events.
    """

    zone: tzinfo = UTC
    country: str = ""
    events: tuple[KnownEvent, ...] = ()

    @property
    def calendar(self) -> CalendarContext:
        """The names of zone and country. A model fits a single calendar, because its columns depend on the calendar."""
        return CalendarContext(str(self.zone), self.country)


EMPTY_CONTEXT = Context()
