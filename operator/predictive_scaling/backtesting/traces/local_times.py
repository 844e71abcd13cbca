"""Convert local times of a recording to seconds since the epoch, with repeated and skipped hours."""

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
    """Return seconds since the epoch of local times in file order, and the rows whose time is in a skipped hour.

    local: shape (n,), each local time converted as if it were UTC. A repeated hour occurs twice in a recording: its
    second pass begins where times go back, or where a time occurs again. A time that occurs once belongs to the first
    pass. Skipped rows are NaN.
    """
    readings = pd.DatetimeIndex(np.round(local * 1e6).astype("datetime64[us]"))
    first, second = (_localized(readings, timezone, is_first) for is_first in (True, False))
    repeated = np.flatnonzero(np.isfinite(first) & (first != second))
    seconds = first.copy()
    for rows in _by_change(repeated, local):
        second_rows = rows[_second_pass(local[rows])]
        seconds[second_rows] = second[second_rows]
    return seconds, np.flatnonzero(np.isnan(first))


def _localized(readings: Any, timezone: str, is_first: bool) -> Seconds:
    times = readings.tz_localize(timezone, ambiguous=np.full(len(readings), is_first), nonexistent="NaT")
    seconds = times.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6
    return np.where(times.isna(), np.nan, seconds)


def _by_change(repeated: Rows, local: Seconds) -> list[Rows]:
    """Return the rows of each repeated hour in file order; two changes of the clock are months apart."""
    order = np.argsort(local[repeated], kind="stable")
    change = np.empty(len(repeated), dtype=np.int64)
    change[order] = np.cumsum(np.diff(local[repeated][order], prepend=local[repeated][order][:1]) > _DAY_SECONDS)
    return [repeated[change == number] for number in np.unique(change)]


def _second_pass(readings: Seconds) -> Booleans:
    """Return which readings of a repeated hour were taken after the clock change."""
    steps = np.diff(readings)
    if (steps < 0).sum() > 1 >= (steps > 0).sum():  # the file is sorted from newest to oldest
        return _second_pass(readings[::-1])[::-1]
    if (steps < 0).sum() == 1:
        return np.arange(len(readings)) > int(np.flatnonzero(steps < 0)[0])
    return pd.Series(readings).duplicated(keep="first").to_numpy()
