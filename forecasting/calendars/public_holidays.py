"""Public holidays by country, as days since the epoch."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecasting.panel import IntArray

MAX_DISTANCE = 7
"""Distances are capped at a week."""


def is_holiday(country: str, days: IntArray) -> npt.NDArray[np.bool_]:
    """Return whether each day is a public holiday. days: since 1970-01-01, any shape.

    country: ISO 3166 code such as FR, optionally with a subdivision such as DE-BY; "" has no holidays. Raises
    ValueError if it is unknown.

    >>> is_holiday("US", np.array(["2014-12-24", "2014-12-25"], dtype="datetime64[D]").astype(np.int64))
    array([False,  True])
    """
    if not country or not days.size:
        return np.zeros(days.shape, dtype=np.bool_)
    holidays_between = _between(country, int(days.min()), int(days.max()))
    return np.isin(days, holidays_between)


def holiday_distances(country: str, days: IntArray) -> tuple[IntArray, IntArray]:
    """Return days since the last holiday and until the next, at most MAX_DISTANCE; both 0 on a holiday."""
    near = _between(country, int(days.min()) - MAX_DISTANCE, int(days.max()) + MAX_DISTANCE) if days.size else days
    bounded = np.concatenate([[np.iinfo(np.int32).min], near, [np.iinfo(np.int32).max]])
    following = np.searchsorted(bounded, days, side="right")
    since = np.minimum(days - bounded[following - 1], MAX_DISTANCE)
    until = np.minimum(np.where(since == 0, 0, bounded[following] - days), MAX_DISTANCE)
    return since, until


def check_country(country: str) -> None:
    """Raise ValueError with the allowed codes if a country has no public holidays."""
    _of_year(country, 2026)


def _between(country: str, first: int, last: int) -> IntArray:
    """Return the holidays of all years from the first to the last day, ascending."""
    years = np.array([first, last]).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return np.concatenate([_of_year(country, year) for year in range(int(years[0]), int(years[1]) + 1)])


@lru_cache(maxsize=4096)
def _of_year(country: str, year: int) -> IntArray:
    """Return the holidays of a year, ascending."""
    # The import takes a third of a second: it happens only if a country is configured.
    import holidays

    code, _, subdivision = country.partition("-")
    try:
        dates = holidays.country_holidays(code, subdiv=subdivision or None, years=year)
    except NotImplementedError as error:
        raise ValueError(
            f"there are no public holidays of {country!r} ({error}); use an ISO 3166 code such as FR, US or DE-BY"
        ) from None
    return np.array(sorted(dates), dtype="datetime64[D]").astype(np.int64)
