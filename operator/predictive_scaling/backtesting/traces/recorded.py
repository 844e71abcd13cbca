"""Recorded demand, independent of its source."""

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.binning import rebinned
from forecasting.cleaning.regularize import Seconds, regularize
from forecasting.series import FloatArray, Series
from predictive_scaling.errors import InvalidTraceError

MINUTE = timedelta(minutes=1)
MIN_BINS = 100
"""Minimum number of bins of a backtest."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A regular series at its recorded interval. repairs: one sentence for each repair that made it regular."""

    series: Series
    repairs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.series.name


def regular_trace(name: str, seconds: Seconds, values: FloatArray, repairs: tuple[str, ...] = ()) -> Trace:
    """Return a trace from samples in any order; see forecasting.cleaning.regularize.

    seconds: shape (n,), since the epoch. values: shape (n,), finite and not negative. Raises InvalidTraceError if the
    samples cannot be made regular.
    """
    if len(seconds) < 2:
        raise InvalidTraceError(f"{name} has {_values(len(seconds))}; a backtest needs at least {MIN_BINS} bins")
    try:
        regularized = regularize(name, seconds, values)
    except ValueError as error:
        raise InvalidTraceError(str(error)) from None
    return Trace(regularized.series, (*repairs, *regularized.repairs))


def checked(trace: Trace, resolution: timedelta, *, zero_is_valid: bool) -> tuple[Series, Trace]:
    """Return the series that is forecast, and the trace with the remarks of the check added to its repairs.

    Raises InvalidTraceError if the trace is too short or has only zeros.
    """
    notes = list(trace.repairs)
    if resolution < trace.series.step:
        notes.append(
            f"the trace has one value every {_duration(trace.series.step)}; this is the resolution, not "
            f"{_duration(resolution)}"
        )
    elif resolution % trace.series.step:
        raise InvalidTraceError(
            f"{trace.name} has one value every {_duration(trace.series.step)}, which does not divide the resolution of "
            f"{_duration(resolution)}; choose a multiple of it with --resolution"
        )
    series = rebinned(trace.series, resolution)
    observed = np.isfinite(series.values)
    if observed.sum() < MIN_BINS:
        raise InvalidTraceError(
            f"{trace.name} has {_values(int(observed.sum()))} at a resolution of {_duration(series.step)}; a backtest "
            f"needs at least {MIN_BINS}"
        )
    if not (series.values[observed] > 0).any():
        raise InvalidTraceError(f"{trace.name} is zero from beginning to end: there is no demand to scale for")
    zeros = int((series.values == 0).sum())
    if zeros and not zero_is_valid:
        notes.append(f"{zeros:,} exact zeros count as missing data (demand.zeroIsValid is false)")
        series = replace(series, values=np.where(series.values == 0, np.nan, series.values))
    return series, replace(trace, repairs=tuple(notes))


def demand_by_minute(trace: Trace, series: Series, *, zero_is_valid: bool) -> Series:
    """Return the demand that replicas must carry: the trace by the minute, as live, if its interval allows.

    series: the result of `checked`; it is returned if the trace is not finer.
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
