"""Irregular samples (unordered, repeated, with gaps, at any distance) become a regular series."""

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
"""Limits of a step."""
MAX_BINS = 20_000_000
_MIN_COMMON_SHARE = 0.1
_MIN_CLEAR_SHARE = 0.5
_MAX_STEP_DEVIATION = 0.1
_MIN_FILL_GAIN = 0.02
_USUAL_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600)


class SampleKind(StrEnum):
    """The meaning of values. GAUGE: the value at a time. COUNTER: a total that only grows, and restarts at resets."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class RegularizedSeries:
    """A regular series, and the repairs that were needed, a sentence each."""

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
    """Return a series in bins of `step`, by default the usual step of the samples. Bins without a sample are NaN.

    times: aware, in any zones and any order; or an array of seconds since the epoch. Among equal times the last sample
    counts; samples of the same bin are averaged; NaN values are ignored. A counter becomes a rate in units per second.
    Outliers are set aside (see forecasting.cleaning.outliers). Raises ValueError with the problem: no samples, naive
    times, negative or infinite values, too large a span of times, a step outside MIN_STEP to MAX_STEP.

    >>> at = [datetime(2026, 3, 1, 12, minute, tzinfo=UTC) for minute in (10, 0, 5)]
    >>> regularize("shop", at, [3.0, 1.0, 2.0]).series.values
    array([1., 2., 3.])
    """
    seconds, numbers = _seconds(name, times), np.asarray(values, dtype=np.float64)
    if seconds.shape != numbers.shape or seconds.ndim != 1:
        raise ValueError(f"{name} has {seconds.shape} times and {numbers.shape} values; give each value a time")
    seconds, numbers, repairs = _clean(name, seconds, numbers)
    if step is not None and not MIN_STEP <= step <= MAX_STEP:
        raise ValueError(f"step {step} is out of range; choose one from {MIN_STEP} to {MAX_STEP}")
    width = infer_step(name, seconds) if step is None else step.total_seconds()
    if kind is SampleKind.COUNTER:
        return _regular_counter(name, seconds, numbers, width, tuple(repairs), context)
    start = np.floor(seconds[0] / width) * width
    _check_bins(name, (seconds[-1] - start) / width + 1, width)
    cells = _cells((seconds - start) / width)
    bins = int(cells[-1]) + 1
    counts = np.bincount(cells, minlength=bins)
    sums = np.bincount(cells, numbers, bins)
    means = np.divide(sums, counts, out=np.full(bins, np.nan), where=counts > 0)
    return _without_outliers(Series(name, _moment(start), timedelta(seconds=width), means, context), tuple(repairs))


def infer_step(name: str, seconds: Seconds) -> float:
    """Return the step of ascending, distinct times in seconds: the shortest common distance (gaps make longer ones).

    Without a common distance, the smallest usual step that covers two typical distances. Raises ValueError if the step
    is longer than MAX_STEP.
    """
    if len(seconds) < 2:
        raise ValueError(f"{name} has one sample, from which no step can be derived; give a step")
    distances = np.diff(seconds)
    lengths, counts = np.unique(np.maximum(1.0, np.round(distances)), return_counts=True)
    common = counts >= _MIN_COMMON_SHARE * counts.sum()
    if common.any():
        step = _usual_step(float(lengths[common][0]), float(counts[common][0] / counts.sum()))
    else:
        wide = 2 * float(np.median(distances))
        step = float(next((usual for usual in _USUAL_STEPS if usual >= wide), np.round(np.median(distances))))
    if step > MAX_STEP.total_seconds():
        raise ValueError(f"{name} has one value every {_duration(step)}; scaling needs at least one every hour")
    return step


def _usual_step(step: float, share: float) -> float:
    """Return the usual step near `step` if jittered times give it fewer than half of the distances, or `step`."""
    nearest = min(_USUAL_STEPS, key=lambda usual: abs(usual - step))
    return float(nearest) if share < _MIN_CLEAR_SHARE and abs(nearest - step) <= _MAX_STEP_DEVIATION * nearest else step


def _cells(widths: Seconds) -> npt.NDArray[np.int64]:
    """Return the bin of each sample: the bin that contains it or, if times jitter at the edges, the nearest bin."""
    containing, nearest = (np.floor(widths + shift).astype(np.int64) for shift in (1e-6, 0.5))
    fill = [len(np.unique(cells)) / (cells[-1] + 1) for cells in (containing, nearest)]
    return nearest if fill[1] > fill[0] + _MIN_FILL_GAIN else containing


def _seconds(name: str, times: Sequence[datetime] | Seconds) -> Seconds:
    if isinstance(times, np.ndarray):
        if not np.issubdtype(times.dtype, np.number) or not np.isfinite(times).all():
            raise ValueError(f"{name} has times of the type {times.dtype}; give finite seconds since the epoch")
        return times.astype(np.float64)
    naive = next((moment for moment in times if moment.tzinfo is None), None)
    if naive is not None:
        raise ValueError(f"{name} has the time {naive.isoformat()} without a time zone; add a time zone, such as UTC")
    return np.array([moment.timestamp() for moment in times], dtype=np.float64)


def _clean(name: str, seconds: Seconds, values: FloatArray) -> tuple[Seconds, FloatArray, list[str]]:
    """Return ascending, distinct times with finite values, and the repairs that were needed."""
    repairs: list[str] = []
    if not len(seconds):
        raise ValueError(f"{name} has no samples")
    if np.isinf(values).any():
        raise ValueError(f"{name} has an infinite value")
    if (values < 0).any():
        raise ValueError(f"{name} has the negative value {float(values[values < 0][0]):g}; demand is not negative")
    known = np.isfinite(values)
    if not known.any():
        raise ValueError(f"{name} has {len(values):,} samples, all without a value")
    if not known.all():
        repairs.append(f"{int((~known).sum()):,} samples have no value and count as gaps")
        seconds, values = seconds[known], values[known]
    if (np.diff(seconds) < 0).any():
        order = np.argsort(seconds, kind="stable")
        seconds, values = seconds[order], values[order]
        repairs.append("rows were not ordered by time and were sorted")
    is_last = np.append(np.diff(seconds) > 0, True)
    if not is_last.all():
        repairs.append(f"{int((~is_last).sum()):,} rows repeat a time; the last row of each time counts")
        seconds, values = seconds[is_last], values[is_last]
    return seconds, np.minimum(values, MAX_DEMAND), repairs


def _regular_counter(
    name: str, seconds: Seconds, totals: FloatArray, width: float, repairs: tuple[str, ...], context: Context
) -> RegularizedSeries:
    if len(seconds) < 2:
        raise ValueError(f"{name} is a counter with one sample; a rate needs two")
    _check_bins(name, (seconds[-1] - seconds[0]) / width, width)
    start, values, resets = counter_rates(seconds, totals, width)
    if not len(values):
        raise ValueError(f"{name} spans no complete bin of {_duration(width)}; a rate needs at least one")
    repairs = (*repairs, f"the counter was reset {resets:,} times") if resets else repairs
    return _without_outliers(Series(name, _moment(start), timedelta(seconds=width), values, context), repairs)


def _without_outliers(series: Series, repairs: tuple[str, ...]) -> RegularizedSeries:
    series = without_outliers(series, judge_first=True)
    if series.outliers:
        repairs = (*repairs, describe_outliers(series.outliers))
    gaps, bins = int(np.isnan(series.values).sum()), len(series.values)
    if gaps:
        repairs = (*repairs, f"{gaps:,} of {bins:,} intervals have no value; they are gaps, never zero")
    return RegularizedSeries(series, repairs)


def _check_bins(name: str, bins: float, width: float) -> None:
    if bins > MAX_BINS:
        raise ValueError(
            f"{name} spans {int(bins):,} intervals of {width:g} s, more than {MAX_BINS:,}; check for "
            "times that are wrong or in another unit"
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def describe_amount(what: str, span: timedelta) -> str:
    """Return an amount of something in words, in the largest unit with a count of at least two.

    >>> describe_amount("demand", timedelta()), describe_amount("demand", timedelta(minutes=90))
    ('no demand', '90 minutes of demand')
    >>> describe_amount("demand", timedelta(hours=30)), describe_amount("demand", timedelta(days=2))
    ('30 hours of demand', '2 days of demand')
    """
    if span < timedelta(minutes=1):
        return f"no {what}"
    unit, name = next((entry for entry in _UNITS if span >= 2 * entry[0]), _UNITS[-1])
    count = span // unit
    return f"{count} {name}{'s' if count > 1 else ''} of {what}"
