"""The quality of demand in the health report: its totals, the worst series, and what needs attention."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

MAX_MISSING, MAX_LATE = 0.10, 0.10
"""Shares of minutes and samples."""
MAX_SKEW_SECONDS = 30.0
MIN_SKEW_SECONDS = 1.0
"""A smaller one is within what clocks differ by."""


class SeriesQuality(msgspec.Struct, frozen=True):
    """The demand of a metric of a service in the last 24 hours, as the API describes it. None: unknown."""

    service_name: str
    metric_name: str
    last: str | None
    missing_ratio: float | None
    late_ratio: float | None
    min_delay_seconds: float | None
    resets: int
    outliers: int

    @property
    def name(self) -> str:
        """The series in words."""
        return f"{self.metric_name} of service {self.service_name}"

    @property
    def skew_seconds(self) -> float | None:
        """The time by which the clock of a sender is ahead; None if it is not known to be."""
        ahead = None if self.min_delay_seconds is None else -self.min_delay_seconds
        return ahead if ahead is not None and ahead >= MIN_SKEW_SECONDS else None


@dataclass(frozen=True, slots=True)
class _Measure:
    """A measure by which series are compared; the series with the highest value is the worst."""

    title: str
    of: Callable[[SeriesQuality], float | None]
    unit: Callable[[float], str]


_MEASURES = (
    _Measure("most missing minutes", lambda series: series.missing_ratio, lambda value: f"{value:.1%}"),
    _Measure("most late samples", lambda series: series.late_ratio, lambda value: f"{value:.1%}"),
    _Measure("clock furthest ahead", lambda series: series.skew_seconds, lambda value: f"{value:.0f} s"),
    _Measure("most restarts of counters", lambda series: series.resets, lambda value: f"{value:.0f}"),
    _Measure("most outliers set aside", lambda series: series.outliers, lambda value: f"{value:.0f}"),
)


def quality_lines(series: Sequence[SeriesQuality]) -> list[str]:
    """Return the totals, and for each measure the worst series; nothing where all values are zero."""
    missing = [entry.missing_ratio for entry in series if entry.missing_ratio is not None]
    mean = f"{sum(missing) / len(missing):.1%}" if missing else "unknown"
    resets, outliers = sum(entry.resets for entry in series), sum(entry.outliers for entry in series)
    totals = (
        f"{len(series)} series, {mean} of the minutes missing, {resets} restarts of counters, "
        f"{outliers} outliers set aside"
    )
    return [totals, *(line for measure in _MEASURES for line in _worst(measure, series))]


def quality_problems(series: Sequence[SeriesQuality]) -> list[str]:
    """Return a sentence for each series and measure that needs attention."""
    return [problem for entry in series for problem in _problems(entry)]


def _worst(measure: _Measure, series: Sequence[SeriesQuality]) -> list[str]:
    values = [(value, entry.name) for entry in series if (value := measure.of(entry))]
    if not values:
        return []
    value, name = max(values)
    return [f"{measure.title}: {name} ({measure.unit(value)})"]


def _problems(series: SeriesQuality) -> list[str]:
    lines, name = list[str](), series.name
    if series.missing_ratio is not None and series.missing_ratio > MAX_MISSING:
        lines.append(f"{name}: {series.missing_ratio:.0%} of the minutes of the last 24 h are missing.")
    if series.late_ratio is not None and series.late_ratio > MAX_LATE:
        lines.append(f"{name}: {series.late_ratio:.0%} of the samples came more than 5 minutes after their time.")
    if series.skew_seconds is not None and series.skew_seconds > MAX_SKEW_SECONDS:
        lines.append(f"{name}: the clock of a sender is {series.skew_seconds:.0f} s ahead.")
    return lines
