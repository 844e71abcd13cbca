"""Recorded demand, as any source hands it over."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.binning import rebinned
from forecasting.cleaning.regularize import Seconds, regularize
from forecasting.series import FloatArray, Series
from predictive_scaling.errors import InvalidTraceError

MINUTE = timedelta(minutes=1)
MIN_BINS = 100
"""Fewer bins than this tell nothing."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A regular series in the interval that it was recorded in, and what had to be mended to make it one.

    repairs: a sentence each, for people.
    """

    series: Series
    repairs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.series.name


def regular_trace(name: str, seconds: Seconds, values: FloatArray, repairs: tuple[str, ...] = ()) -> Trace:
    """A trace from samples in any order; see forecasting.cleaning.regularize.

    seconds: shape (n,), since the epoch. values: shape (n,), finite and not negative. Raises InvalidTraceError where
    that cannot be done.
    """
    if len(seconds) < 2:
        raise InvalidTraceError(f"{name} has {_values(len(seconds))}; a backtest needs at least {MIN_BINS} bins")
    try:
        found = regularize(name, seconds, values)
    except ValueError as error:
        raise InvalidTraceError(str(error)) from None
    return Trace(found.series, (*repairs, *found.repairs))


def checked(trace: Trace, resolution: timedelta, *, zero_is_valid: bool) -> tuple[Series, Trace]:
    """The series that is forecast, and the trace with what was found on the way among its repairs.

    Raises InvalidTraceError where it is too short, or nothing but zeros.
    """
    notes = list(trace.repairs)
    if resolution < trace.series.step:
        notes.append(
            f"one value each {_duration(trace.series.step)}: that is the resolution, not {_duration(resolution)}"
        )
    elif resolution % trace.series.step:
        raise InvalidTraceError(
            f"{trace.name} has one value each {_duration(trace.series.step)}, which does not divide the resolution of "
            f"{_duration(resolution)}; choose a multiple of it with --resolution"
        )
    series = rebinned(trace.series, resolution)
    seen = np.isfinite(series.values)
    if seen.sum() < MIN_BINS:
        raise InvalidTraceError(
            f"{trace.name} has {_values(int(seen.sum()))} at a resolution of {_duration(series.step)}; a backtest "
            f"needs at least {MIN_BINS}"
        )
    if not (series.values[seen] > 0).any():
        raise InvalidTraceError(f"{trace.name} is zero from beginning to end: there is no demand to scale for")
    zeros = int((series.values == 0).sum())
    if zeros and not zero_is_valid:
        notes.append(f"{zeros:,} exact zeros are taken for missing data (demand.zeroIsValid is false)")
        series = replace(series, values=np.where(series.values == 0, np.nan, series.values))
    return series, replace(trace, repairs=tuple(notes))


def demand_by_minute(trace: Trace, series: Series, *, zero_is_valid: bool) -> Series:
    """The demand that replicas have to carry: the trace by the minute, as live, where it was recorded so finely.

    series: what `checked` made of the trace; it is returned where that is as fine as the trace allows.
    """
    width = max(MINUTE, trace.series.step)
    if width >= series.step or width % trace.series.step or series.step % width:
        return series
    minutes = rebinned(trace.series, width)
    if zero_is_valid:
        return minutes
    return replace(minutes, values=np.where(minutes.values == 0, np.nan, minutes.values))


def _values(count: int) -> str:
    return "one value" if count == 1 else f"{count:,} values"


def _duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
