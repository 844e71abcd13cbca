"""Time zone and public holidays of demand."""

import difflib
import re
import zoneinfo
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator

from forecasting.calendars.public_holidays import check_country
from predictive_scaling.resources.matching import Matching

_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"
_COUNTRY = "^[A-Z]{2}(-[A-Z0-9]{1,3})?$"
_EXCLUDED_ZONES = "^(Factory|localtime|posixrules|leapseconds|(posix|right)/.*)$"
"""Files of the database that are not zones of a place: the machine's clock, examples, zones with leap seconds."""


@lru_cache(maxsize=1)
def known_zones() -> frozenset[str]:
    """Return the names of all time zones of the IANA database. The database is read once."""
    return frozenset(name for name in zoneinfo.available_timezones() if not re.match(_EXCLUDED_ZONES, name))


def _known_zone(name: str) -> str:
    if name not in known_zones():
        close = difflib.get_close_matches(name, known_zones(), n=1)
        hint = f"did you mean {close[0]}?" if close else "use a zone such as Europe/Paris"
        raise ValueError(f"is not a time zone of the IANA database; {hint}")
    return name


def _known_country(code: str) -> str:
    check_country(code)
    return code


Timezone = Annotated[
    str,
    Matching(_ZONE, "must be a time zone such as Europe/Paris", max_length=64, forbidden=_EXCLUDED_ZONES),
    AfterValidator(_known_zone),
]
"""A zone of the IANA database. The API server checks the form, the operator the existence."""

HolidayCalendar = Annotated[
    str,
    Matching(_COUNTRY, "must be a country such as FR, or a subdivision such as DE-BY", max_length=6),
    AfterValidator(_known_country),
]
"""A country or subdivision (ISO 3166) with known public holidays, checked in the same way."""
