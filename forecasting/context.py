"""What is known about a series beside its values: where its people live, and what is going to happen."""

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """Something that was or is going to be: half-open, [start, end), both aware.

    type: what earlier events it is compared with; "" for none. magnitude: what it is said to multiply demand by; None
    where nobody says.
    """

    type: str
    start: datetime
    end: datetime
    magnitude: float | None = None


class CalendarContext(NamedTuple):
    """A zone and a country by name, as a model's manifest keeps them."""

    zone: str = "UTC"
    country: str = ""

    def __str__(self) -> str:
        return f"{self.zone}, holidays of {self.country}" if self.country else self.zone


@dataclass(frozen=True, slots=True)
class Context:
    """zone: by whose clock demand has its days. country: ISO 3166 code of the public holidays, "" for none.

    events: known ahead of time, in any order; a forecast may look at those that are still to come.
    """

    zone: tzinfo = UTC
    country: str = ""
    events: tuple[KnownEvent, ...] = ()

    @property
    def calendar(self) -> CalendarContext:
        """Where demand comes from. A model fits the clocks and holidays of one place: columns mean them."""
        return CalendarContext(str(self.zone), self.country)


EMPTY_CONTEXT = Context()
