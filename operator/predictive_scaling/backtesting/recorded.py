"""Recorded demand, as any source hands it over."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.series import FloatArray, Series
from predictive_scaling.errors import InvalidTraceError

Seconds = npt.NDArray[np.float64]

LEAST_BINS = 100
"""Fewer bins than this tell nothing."""
MOST_BINS = 20_000_000
_COMMON = 0.1
_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)


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

    def binned(self, step: timedelta) -> Series:
        """Means of bins of `step`, aligned to whole steps of the day; as it is where `step` is no longer than its own.

        The last bin counts only where all of it was recorded.
        """
        own = self.series.step
        if step <= own:
            return self.series
        width = step // own
        offset = _into_bin(self.series.start, step) // own
        bins = (offset + len(self.series.values)) // width
        padded = np.full(offset + len(self.series.values), np.nan)
        padded[offset:] = self.series.values
        cells = padded[: bins * width].reshape(bins, width)
        seen = np.isfinite(cells)
        counts = seen.sum(axis=1)
        sums = np.where(seen, cells, 0.0).sum(axis=1)
        values = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
        return Series(self.name, self.series.start - offset * own, step, values)


def regular(name: str, seconds: Seconds, values: FloatArray, repairs: tuple[str, ...] = ()) -> Trace:
    """A trace from samples in any order: sorted, the last of equal times kept, put on a grid of their usual distance.

    seconds: shape (n,), since the epoch. values: shape (n,), finite and not negative. Samples that fall into one cell
    of the grid are averaged. Raises InvalidTraceError where that cannot be done.
    """
    notes = list(repairs)
    if len(seconds) < 2:
        raise InvalidTraceError(f"{name} has {_values(len(seconds))}; a backtest needs at least {LEAST_BINS} bins")
    if (np.diff(seconds) < 0).any():
        order = np.argsort(seconds, kind="stable")
        seconds, values = seconds[order], values[order]
        notes.append("rows were not in the order of time and have been sorted")
    fresh = np.append(np.diff(seconds) > 0, True)
    if not fresh.all():
        notes.append(f"{int((~fresh).sum()):,} rows repeat a time; the last one counts")
        seconds, values = seconds[fresh], values[fresh]
    interval = _interval(name, seconds)
    start = np.floor(seconds[0] / interval) * interval
    cells = np.floor((seconds - start) / interval + 1e-6).astype(np.int64)
    bins = int(cells[-1]) + 1
    if bins > MOST_BINS:
        raise InvalidTraceError(
            f"{name} spans {bins:,} intervals of {interval:g} s, more than {MOST_BINS:,}; is a time of it wrong, or in "
            "another unit than the others?"
        )
    counts = np.bincount(cells, minlength=bins)
    sums = np.bincount(cells, values, bins)
    means = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    gaps = int((counts == 0).sum())
    if gaps:
        notes.append(f"{gaps:,} of {bins:,} intervals have no value; they are gaps, never zero")
    begins = datetime.fromtimestamp(float(start), UTC)
    return Trace(Series(name, begins, timedelta(seconds=interval), means), tuple(notes))


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
    series = trace.binned(resolution)
    seen = np.isfinite(series.values)
    if seen.sum() < LEAST_BINS:
        raise InvalidTraceError(
            f"{trace.name} has {_values(int(seen.sum()))} at a resolution of {_duration(series.step)}; a backtest "
            f"needs at least {LEAST_BINS}"
        )
    if not (series.values[seen] > 0).any():
        raise InvalidTraceError(f"{trace.name} is zero from beginning to end: there is no demand to scale for")
    zeros = int((series.values == 0).sum())
    if zeros and not zero_is_valid:
        notes.append(f"{zeros:,} exact zeros are taken for missing data (demand.zeroIsValid is false)")
        series = replace(series, values=np.where(series.values == 0, np.nan, series.values))
    return series, replace(trace, repairs=tuple(notes))


def _interval(name: str, seconds: Seconds) -> float:
    """The shortest distance that is common; gaps make longer ones, however many there are."""
    distances, counts = np.unique(np.maximum(1.0, np.round(np.diff(seconds))), return_counts=True)
    common = counts >= _COMMON * counts.sum()
    whole = float(distances[common][0] if common.any() else np.median(np.diff(seconds)).round())
    if whole > timedelta(hours=1).total_seconds():
        raise InvalidTraceError(
            f"{name} has one value each {_duration(timedelta(seconds=whole))}; scaling needs at least one each hour"
        )
    return whole


def _into_bin(start: datetime, step: timedelta) -> timedelta:
    return (start - _EARLIEST) % step


def _values(count: int) -> str:
    return "one value" if count == 1 else f"{count:,} values"


def _duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"
