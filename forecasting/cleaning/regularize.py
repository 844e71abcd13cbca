"""Samples as they come (unordered, repeated, gappy, at any distance) made into a regular series."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from forecasting.cleaning.counters import counter_rates
from forecasting.cleaning.outliers import describe_outliers, without_outliers
from forecasting.context import EMPTY_CONTEXT, Context
from forecasting.series import MAX_DEMAND, FloatArray, Series

Seconds = npt.NDArray[np.float64]

MIN_STEP, MAX_STEP = timedelta(seconds=1), timedelta(hours=1)
"""Between which a step lies."""
MAX_BINS = 20_000_000
_COMMON = 0.1
_CLEAR = 0.5
_NEAR = 0.1
_CALM = 0.02
_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600)


class SampleKind(StrEnum):
    """What the values are. GAUGE: what is so at a time. COUNTER: a total that only grows, and begins anew at resets."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class RegularizedSeries:
    """A series, and what had to be mended to make it one. repairs: a sentence each, for people."""

    series: Series
    repairs: tuple[str, ...] = ()


def regularize(
    name: str,
    times: Sequence[datetime] | Seconds,
    values: Sequence[float] | FloatArray,
    *,
    step: timedelta | None = None,
    kind: SampleKind = SampleKind.GAUGE,
    context: Context = EMPTY_CONTEXT,
) -> RegularizedSeries:
    """A series in bins of `step`, or of the step that the samples have; bins without a sample are NaN, never zero.

    times: aware, of any zones, in any order; or an array of seconds since the epoch. Of equal times the last one given
    counts; samples of one bin are averaged; NaN values are no samples. A counter becomes its rate in units a second.
    What is out of all proportion to what came before is set aside (see forecasting.cleaning.outliers).
    Raises ValueError that says what is wrong: nothing in it, naive times, negative or infinite values, too wide a
    spread of times, a step outside SHORTEST to LONGEST.

    >>> at = [datetime(2026, 3, 1, 12, minute, tzinfo=UTC) for minute in (10, 0, 5)]
    >>> regularize("shop", at, [3.0, 1.0, 2.0]).series.values
    array([1., 2., 3.])
    """
    seconds, numbers = _seconds(name, times), np.asarray(values, dtype=np.float64)
    if seconds.shape != numbers.shape or seconds.ndim != 1:
        raise ValueError(f"{name} has {seconds.shape} times and {numbers.shape} values; give one time a value")
    seconds, numbers, repairs = _clean(name, seconds, numbers)
    if step is not None and not MIN_STEP <= step <= MAX_STEP:
        raise ValueError(f"a step lies between {MIN_STEP} and {MAX_STEP}; {step} does not")
    width = infer_step(name, seconds) if step is None else step.total_seconds()
    if kind is SampleKind.COUNTER:
        return _of_counter(name, seconds, numbers, width, tuple(repairs), context)
    start = np.floor(seconds[0] / width) * width
    _count(name, (seconds[-1] - start) / width + 1, width)
    cells = _cells((seconds - start) / width)
    bins = int(cells[-1]) + 1
    counts = np.bincount(cells, minlength=bins)
    sums = np.bincount(cells, numbers, bins)
    means = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    return _told(Series(name, _moment(start), timedelta(seconds=width), means, context), tuple(repairs))


def infer_step(name: str, seconds: Seconds) -> float:
    """The step of ascending, distinct times, in seconds: the shortest distance that is common (gaps make longer ones).

    Where none is common, the least usual width of a bin that holds two typical distances. Raises ValueError beyond
    LONGEST.
    """
    if len(seconds) < 2:
        raise ValueError(f"{name} has one sample, which has no step; give one")
    distances = np.diff(seconds)
    lengths, counts = np.unique(np.maximum(1.0, np.round(distances)), return_counts=True)
    common = counts >= _COMMON * counts.sum()
    if common.any():
        found = _rounded(float(lengths[common][0]), float(counts[common][0] / counts.sum()))
    else:
        wide = 2 * float(np.median(distances))
        found = float(next((one for one in _STEPS if one >= wide), np.round(np.median(distances))))
    if found > MAX_STEP.total_seconds():
        raise ValueError(f"{name} has one value each {_duration(found)}; scaling needs at least one each hour")
    return found


def _rounded(step: float, share: float) -> float:
    """The usual width near a step that fewer than half of the distances have: times that tremble around it."""
    nearest = min(_STEPS, key=lambda one: abs(one - step))
    return float(nearest) if share < _CLEAR and abs(nearest - step) <= _NEAR * nearest else step


def _cells(widths: Seconds) -> npt.NDArray[np.int64]:
    """The bin of each sample: the one that it lies in, or, where times tremble around the edges, the nearest edge's."""
    lying, nearest = (np.floor(widths + shift).astype(np.int64) for shift in (1e-6, 0.5))
    filled = [len(np.unique(cells)) / (cells[-1] + 1) for cells in (lying, nearest)]
    return nearest if filled[1] > filled[0] + _CALM else lying


def _seconds(name: str, times: Sequence[datetime] | Seconds) -> Seconds:
    if isinstance(times, np.ndarray):
        if not np.issubdtype(times.dtype, np.number) or not np.isfinite(times).all():
            raise ValueError(f"{name} has times of the type {times.dtype}; give finite seconds since the epoch")
        return times.astype(np.float64)
    naive = next((moment for moment in times if moment.tzinfo is None), None)
    if naive is not None:
        raise ValueError(f"{name} has the time {naive.isoformat()} without a zone; give it one, such as UTC")
    return np.array([moment.timestamp() for moment in times], dtype=np.float64)


def _clean(name: str, seconds: Seconds, values: FloatArray) -> tuple[Seconds, FloatArray, list[str]]:
    """Ascending, distinct, finite; and what had to be done for it."""
    repairs: list[str] = []
    if not len(seconds):
        raise ValueError(f"{name} has no samples")
    if np.isinf(values).any():
        raise ValueError(f"{name} has an infinite value")
    if (values < 0).any():
        raise ValueError(f"{name} has the negative value {float(values[values < 0][0]):g}; demand is not negative")
    known = np.isfinite(values)
    if not known.any():
        raise ValueError(f"{name} has {len(values):,} samples, and no value in any of them")
    if not known.all():
        repairs.append(f"{int((~known).sum()):,} samples have no value and count as gaps")
        seconds, values = seconds[known], values[known]
    if (np.diff(seconds) < 0).any():
        order = np.argsort(seconds, kind="stable")
        seconds, values = seconds[order], values[order]
        repairs.append("rows were not in the order of time and have been sorted")
    fresh = np.append(np.diff(seconds) > 0, True)
    if not fresh.all():
        repairs.append(f"{int((~fresh).sum()):,} rows repeat a time; the last one counts")
        seconds, values = seconds[fresh], values[fresh]
    return seconds, np.minimum(values, MAX_DEMAND), repairs


def _of_counter(
    name: str, seconds: Seconds, totals: FloatArray, width: float, repairs: tuple[str, ...], context: Context
) -> RegularizedSeries:
    if len(seconds) < 2:
        raise ValueError(f"{name} is a counter with one sample; a rate needs two")
    _count(name, (seconds[-1] - seconds[0]) / width, width)
    start, values, resets = counter_rates(seconds, totals, width)
    if not len(values):
        raise ValueError(f"{name} spans no whole bin of {_duration(width)}; a rate needs one")
    notes = (*repairs, f"the counter began anew {resets:,} times") if resets else repairs
    return _told(Series(name, _moment(start), timedelta(seconds=width), values, context), notes)


def _told(series: Series, repairs: tuple[str, ...]) -> RegularizedSeries:
    series = without_outliers(series, judge_first=True)
    if series.outliers:
        repairs = (*repairs, describe_outliers(series.outliers))
    gaps, bins = int(np.isnan(series.values).sum()), len(series.values)
    if gaps:
        repairs = (*repairs, f"{gaps:,} of {bins:,} intervals have no value; they are gaps, never zero")
    return RegularizedSeries(series, repairs)


def _count(name: str, bins: float, width: float) -> None:
    if bins > MAX_BINS:
        raise ValueError(
            f"{name} spans {int(bins):,} intervals of {width:g} s, more than {MAX_BINS:,}; is a time of it wrong, or "
            "in another unit than the others?"
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def describe_amount(what: str, span: timedelta) -> str:
    """So much of something, in the largest unit of which there are two at least.

    >>> amount_of("demand", timedelta()), amount_of("demand", timedelta(minutes=90))
    ('no demand', '90 minutes of demand')
    >>> amount_of("demand", timedelta(hours=30)), amount_of("demand", timedelta(days=2))
    ('30 hours of demand', '2 days of demand')
    """
    if span < timedelta(minutes=1):
        return f"no {what}"
    unit, name = next((it for it in _UNITS if span >= 2 * it[0]), _UNITS[-1])
    count = span // unit
    return f"{count} {name}{'s' if count > 1 else ''} of {what}"
