"""Where demand comes from: its time zone and its public holidays."""

import difflib
import zoneinfo
from typing import Annotated

from pydantic import AfterValidator

from forecasting.public_holidays import check_country
from predictive_scaling.resources.matching import Matching

_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$"
_COUNTRY = "^[A-Z]{2}(-[A-Z0-9]{1,3})?$"


def _known_zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        close = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {close[0]}?" if close else "write one such as Europe/Paris"
        raise ValueError(f"is no time zone of the IANA database; {hint}") from None
    return name


def _known_country(code: str) -> str:
    check_country(code)
    return code


Timezone = Annotated[
    str,
    Matching(_ZONE, "must be a time zone such as Europe/Paris", longest=64),
    AfterValidator(_known_zone),
]
"""A zone of the IANA database. The API server judges the form, the operator whether it exists."""

HolidayCalendar = Annotated[
    str,
    Matching(_COUNTRY, "must be a country such as FR, or a part of one such as DE-BY", longest=6),
    AfterValidator(_known_country),
]
"""A country or a part of one (ISO 3166) with known public holidays, judged alike."""
