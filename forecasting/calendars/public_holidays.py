"""Public holidays by country, as days since the epoch."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from forecasting.panel import IntArray

MAX_DISTANCE = 7
"""Beyond a week a holiday is far, however far it is."""


def is_holiday(country: str, days: IntArray) -> npt.NDArray[np.bool_]:
    """Whether each day is one; days: since 1970-01-01, any shape.

    country: ISO 3166 code, such as FR, with a subdivision where there is one, such as DE-BY; "" has none. Raises
    ValueError where it is unknown.

    >>> is_holiday("US", np.array(["2014-12-24", "2014-12-25"], dtype="datetime64[D]").astype(np.int64))
    array([False,  True])
    """
    if not country or not days.size:
        return np.zeros(days.shape, dtype=np.bool_)
    known = _between(country, int(days.min()), int(days.max()))
    return np.isin(days, known)


def holiday_distances(country: str, days: IntArray) -> tuple[IntArray, IntArray]:
    """Days since the last holiday and until the next one, at most MAX_DISTANCE; both 0 on a holiday."""
    known = _between(country, int(days.min()) - MAX_DISTANCE, int(days.max()) + MAX_DISTANCE) if days.size else days
    bounded = np.concatenate([[np.iinfo(np.int32).min], known, [np.iinfo(np.int32).max]])
    at = np.searchsorted(bounded, days, side="right")
    since = np.minimum(days - bounded[at - 1], MAX_DISTANCE)
    until = np.minimum(np.where(since == 0, 0, bounded[at] - days), MAX_DISTANCE)
    return since, until


def check_country(country: str) -> None:
    """Raise ValueError that says what is allowed where there are no holidays for it."""
    _of_year(country, 2026)


def _between(country: str, first: int, last: int) -> IntArray:
    years = np.array([first, last]).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    return np.concatenate([_of_year(country, year) for year in range(int(years[0]), int(years[1]) + 1)])


@lru_cache(maxsize=4096)
def _of_year(country: str, year: int) -> IntArray:
    """The holidays of a year, ascending."""
    # A third of a second to import: only those who name a country pay for it.
    import holidays

    code, _, subdivision = country.partition("-")
    try:
        found = holidays.country_holidays(code, subdiv=subdivision or None, years=year)
    except NotImplementedError as error:
        raise ValueError(
            f"there are no public holidays of {country!r} ({error}); give an ISO 3166 code such as FR, US or DE-BY"
        ) from None
    return np.array(sorted(found), dtype="datetime64[D]").astype(np.int64)
