"""Generated series for the benchmarks: seven workloads that differ in kind, the same numbers in every run."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.calendars.public_holidays import is_holiday
from forecasting.context import KnownEvent
from forecasting.series import Series
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import Incident, Kind, factors
from predictive_scaling.synthesis.match_days import SPORTS_SITE
from predictive_scaling.synthesis.shapes import SATURDAY, day
from predictive_scaling.synthesis.timeline import DAY, FloatArray, Timeline
from predictive_scaling.synthesis.workload_profiles import (
    WORKLOAD_PROFILES,
    GeneratedDemand,
    WorkloadProfile,
    in_weeks,
    noise_factor,
)

SEED = 1
_END = datetime(2026, 5, 29, tzinfo=UTC)
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_MENTIONS_DISPERSION = 3.0
"""Variance of a count divided by its mean."""


@dataclass(frozen=True, slots=True)
class GeneratedSeries:
    """A generated series. events: the matches behind it, empty for other workloads."""

    trace: Trace
    events: tuple[KnownEvent, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    profile: WorkloadProfile
    step: timedelta
    days: int
    quick_days: int


def webhooks(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Calls from other systems: bursts at any time, without a daily or weekly shape."""
    level = chance.between("level", 40, 70)
    busy = 0.6 * chance.drifting("busy", timeline, 20 * _MINUTE) + 0.7 * chance.normal("bursts", timeline)
    return GeneratedDemand(np.rint(level * np.exp(busy)))


def mentions(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Mentions of a company: small counts, and news at any time whose size has a heavy tail."""
    shape = day(timeline, "America/New_York", {0: 0.6, 5: 0.35, 9: 1.1, 13: 1.2, 17: 1.1, 21: 0.9})
    news = tuple(in_weeks(timeline, "America/New_York", chance, _news))
    expected = chance.between("level", 25, 60) * shape * noise_factor(timeline, chance, 0.2, 0.1)
    expected = expected * factors(news, timeline, rise=5 * _MINUTE, fall=40 * _MINUTE)
    counts = expected + np.sqrt(_MENTIONS_DISPERSION * expected) * chance.normal("mentions", timeline)
    return GeneratedDemand(np.rint(np.maximum(counts, 0.0)), news)


def rides(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Rides in New York: working days, weekends with long nights, quiet public holidays, and a storm in most months."""
    zone = "America/New_York"
    working_day = day(timeline, zone, {0: 0.55, 4: 0.15, 8: 1.0, 12: 0.95, 16: 0.85, 19: 1.35, 22: 1.1})
    free_day = day(timeline, zone, {0: 1.15, 4: 0.45, 7: 0.25, 12: 0.85, 16: 0.95, 20: 1.1, 23: 1.25})
    days = timeline.days(zone)
    holidays = is_holiday("US-NY", days)
    shape = np.where((timeline.weekdays(zone) >= SATURDAY) | holidays, free_day, working_day)
    shape = shape * np.where(holidays, 0.7, 1.0) * _storms(timeline, chance)
    return GeneratedDemand(np.rint(chance.between("level", 12_000, 20_000) * shape * _calm_noise(timeline, chance)))


_PROFILES = {profile.name: profile for profile in WORKLOAD_PROFILES}
_FIVE_MINUTES = 5 * _MINUTE
_SOURCES = (
    _Source(_PROFILES["web-shop"], _FIVE_MINUTES, 60, 21),
    _Source(WorkloadProfile("webhooks", "bursts without a shape", "calls", webhooks), _FIVE_MINUTES, 14, 14),
    _Source(_PROFILES["checkout"], _FIVE_MINUTES, 28, 21),
    _Source(WorkloadProfile("rides", "holidays, half hours", "rides", rides), 30 * _MINUTE, 215, 60),
    _Source(WorkloadProfile("mentions", "heavy-tailed news", "mentions", mentions), _FIVE_MINUTES, 55, 21),
    _Source(_PROFILES["batch-jobs"], _MINUTE, 16, 14),
    _Source(SPORTS_SITE, _MINUTE, 62, 28),
)
NAMES = tuple(f"generated-{source.profile.name}" for source in _SOURCES)
MEAN_NAMES = tuple(name for name, source in zip(NAMES, _SOURCES, strict=True) if source.step <= _FIVE_MINUTES)
"""Series with a value at each evaluated horizon: means are over these."""


def generated_series(*, quick: bool) -> Iterator[GeneratedSeries]:
    """All series, in the order of NAMES. quick: shorter series."""
    for source in _SOURCES:
        days = source.quick_days if quick else source.days
        timeline = Timeline(_END - days * DAY, source.step, days * (DAY // source.step))
        generated = source.profile.generate(timeline, Chance(SEED, source.profile.name))
        series = Series(f"generated-{source.profile.name}", timeline.start, timeline.step, generated.values)
        events = tuple(
            KnownEvent(str(incident.kind), incident.start, incident.end)
            for incident in generated.incidents
            if incident.kind is Kind.MATCH and incident.touches(timeline)
        )
        yield GeneratedSeries(Trace(series), events)


def _news(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    starts = [monday + int(generator.integers(0, 7 * 24 * 60)) * _MINUTE for _ in range(int(generator.poisson(9)))]
    return [
        Incident(
            start,
            start + int(generator.integers(5, 40)) * _MINUTE,
            Kind.BURST,
            1.3 + 0.7 * min(float(generator.pareto(1.0)), 80.0),
        )
        for start in starts
    ]


def _storms(timeline: Timeline, chance: Chance) -> FloatArray:
    """The factor of storms, each of which lasts a day and a half: shape (bins,)."""
    factor = np.ones(timeline.bins)
    for monday in timeline.mondays("UTC"):
        generator = chance.on("storms", monday)
        start = monday + float(generator.uniform(0, 7)) * DAY
        if generator.random() < 0.2:
            since = timeline.seconds - start.timestamp()
            factor[(since >= 0) & (since < (1.5 * DAY).total_seconds())] = generator.uniform(0.2, 0.7)
    return factor


def _calm_noise(timeline: Timeline, chance: Chance) -> FloatArray:
    """Noise of many independent riders, with better and worse days: shape (bins,)."""
    days = np.exp(0.05 * chance.drifting("days", timeline, 12 * _HOUR))
    return days * noise_factor(timeline, chance, 0.03, 0.02)
