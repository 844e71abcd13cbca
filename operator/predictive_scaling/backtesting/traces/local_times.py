"""Local times of a recording as seconds since the epoch, across the hours that clocks repeat and skip."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas

from forecasting.cleaning.regularize import Seconds

pd: Any = pandas
Rows = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_DAY_SECONDS = 86_400


def to_utc(local: Seconds, timezone: str) -> tuple[Seconds, Rows]:
    """Seconds since the epoch of clock readings in the order of the file, and the rows that fall into a skipped hour.

    local: shape (n,), each reading taken as if it were UTC. An hour that clocks repeat is passed twice: the second pass
    begins where readings go back, or where a reading comes again. What is recorded once belongs to the first pass. A
    skipped row holds NaN.
    """
    readings = pd.DatetimeIndex(np.round(local * 1e6).astype("datetime64[us]"))
    first, second = (_localized(readings, timezone, is_first) for is_first in (True, False))
    repeated = np.flatnonzero(np.isfinite(first) & (first != second))
    seconds = first.copy()
    for rows in _by_change(repeated, local):
        again = rows[_second_pass(local[rows])]
        seconds[again] = second[again]
    return seconds, np.flatnonzero(np.isnan(first))


def _localized(readings: Any, timezone: str, is_first: bool) -> Seconds:
    times = readings.tz_localize(timezone, ambiguous=np.full(len(readings), is_first), nonexistent="NaT")
    seconds = times.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
    return np.where(times.isna(), np.nan, seconds)


def _by_change(repeated: Rows, local: Seconds) -> list[Rows]:
    """The rows of each repeated hour, in the order of the file; two changes of the clock are months apart."""
    order = np.argsort(local[repeated], kind="stable")
    change = np.empty(len(repeated), dtype=np.int64)
    change[order] = np.cumsum(np.diff(local[repeated][order], prepend=local[repeated][order][:1]) > _DAY_SECONDS)
    return [repeated[change == number] for number in np.unique(change)]


def _second_pass(readings: Seconds) -> Booleans:
    """Which of the readings of one repeated hour were taken behind the change."""
    steps = np.diff(readings)
    if (steps < 0).sum() > 1 >= (steps > 0).sum():  # the newest row comes first
        return _second_pass(readings[::-1])[::-1]
    if (steps < 0).sum() == 1:
        return np.arange(len(readings)) > int(np.flatnonzero(steps < 0)[0])
    return pd.Series(readings).duplicated(keep="first").to_numpy()
