"""Workload profiles: common kinds of services, each with a different difficulty for forecasts.

Names of purposes and of the functions passed to in_weeks are part of the random seed: a rename changes the numbers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import Incident, Kind, factors, within
from predictive_scaling.synthesis.shapes import SATURDAY, day, growth, weekend
from predictive_scaling.synthesis.timeline import DAY, FloatArray, Timeline

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class GeneratedDemand:
    """values: demand, shape (bins,), NaN where nothing was measured. incidents: their causes, by start."""

    values: FloatArray
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkloadProfile:
    """A kind of service. generate: its demand on a timeline. zero_is_valid: zeros are demand, not missing samples."""

    name: str
    about: str
    metric: str
    generate: Callable[[Timeline, Chance], GeneratedDemand]
    zero_is_valid: bool = False


def web_shop(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Evenings and weekends in Berlin, growing by the year, with a flash sale in most weeks."""
    zone = "Europe/Berlin"
    shape = day(timeline, zone, {0: 0.3, 4: 0.12, 8: 0.55, 12: 0.8, 16: 0.75, 20: 1.25, 22: 0.8})
    baseline = chance.between("level", 280, 560) * shape * weekend(timeline, zone, 1.25) * growth(timeline, 0.6)
    sales = tuple(in_weeks(timeline, zone, chance, _flash_sale))
    raised = baseline * factors(sales, timeline, rise=10 * _MINUTE, fall=20 * _MINUTE)
    return GeneratedDemand(raised * noise_factor(timeline, chance, 0.05, 0.03), sales)


def public_api(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Office hours in New York; noise grows with the level; retries follow each outage."""
    zone = "America/New_York"
    shape = day(timeline, zone, {0: 0.15, 6: 0.2, 9: 0.9, 11: 1.0, 13: 0.85, 15: 1.0, 18: 0.5, 22: 0.2})
    shape = shape * weekend(timeline, zone, 0.35)
    outages = tuple(in_weeks(timeline, zone, chance, _outage))
    retries = [Incident(outage.end, outage.end + 5 * _MINUTE, Kind.BURST, 1.4) for outage in outages]
    baseline = chance.between("level", 120, 240) * shape * factors(outages, timeline, rise=_MINUTE, fall=_MINUTE / 2)
    baseline = baseline * factors(retries, timeline, rise=_MINUTE, fall=10 * _MINUTE)
    # The spread grows faster than the mean, because calls are correlated.
    spread = 0.03 + 0.17 * shape
    noise = 0.7 * chance.drifting("herds", timeline, 6 * _MINUTE) + 0.7 * chance.normal("noise", timeline)
    return GeneratedDemand(baseline * np.exp(spread * noise - spread**2 / 2), outages)


def batch_jobs(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Almost idle, with a wave of jobs at each full hour UTC and a long one at 02:00 UTC."""
    hours = timeline.hours("UTC")
    since_full_hour = (hours % 1) * 60
    sizes = np.exp(0.25 * chance.drifting("sizes", timeline, 3 * _HOUR))
    level = chance.between("level", 25, 45)
    hourly = np.where(since_full_hour < 5, level, 0.0)
    nightly = np.where((hours >= 2) & (hours < 2 + 40 / 60), 4 * level, 0.0)
    return GeneratedDemand((1.5 + (hourly + nightly) * sizes) * noise_factor(timeline, chance, 0.04, 0.05))


def social_feed(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Unannounced bursts, a few of them huge, on the daily shape of Madrid, and a live show on Sunday evenings."""
    zone = "Europe/Madrid"
    baseline = chance.between("level", 60, 110) * day(timeline, zone, {0: 0.8, 4: 0.3, 9: 0.7, 14: 1.0, 22: 1.2})
    bursts = tuple(in_weeks(timeline, zone, chance, _bursts))
    shows = tuple(in_weeks(timeline, zone, chance, _live_show))
    raised = baseline * factors(bursts, timeline, rise=2 * _MINUTE, fall=35 * _MINUTE)
    raised = raised * factors(shows, timeline, rise=15 * _MINUTE, fall=25 * _MINUTE)
    return GeneratedDemand(raised * noise_factor(timeline, chance, 0.08, 0.06), tuple(sorted((*bursts, *shows))))


def internal_tool(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """Used occasionally in London's office hours only: most minutes are exactly zero."""
    zone = "Europe/London"
    shape = day(timeline, zone, {0: 0, 7.5: 0, 9: 1, 12: 0.7, 14: 1, 17: 0.8, 18.5: 0})
    probability = 0.3 * shape * weekend(timeline, zone, 0)
    sizes = chance.between("level", 3, 8) * np.exp(0.7 * chance.normal("sizes", timeline))
    return GeneratedDemand(np.where(chance.uniform("whether", timeline) < probability, sizes, 0.0))


def checkout(timeline: Timeline, chance: Chance) -> GeneratedDemand:
    """A service whose releases change the cost of a visit: its level shifts, after three minutes without samples."""
    shape = day(timeline, "UTC", {0: 0.5, 4: 0.35, 9: 0.8, 13: 0.9, 19: 1.15, 22: 0.75})
    releases = tuple(in_weeks(timeline, "UTC", chance, _releases))
    values = chance.between("level", 60, 120) * shape * noise_factor(timeline, chance, 0.05, 0.04)
    levels = np.ones(timeline.bins)
    for release in releases:
        # Each release sets the level, so that a longer timeline has the same levels from the next release on.
        levels[within(release, timeline).start :] = release.factor
    values = values * levels
    for release in releases:
        values[within(release, timeline)] = np.nan
    return GeneratedDemand(values, releases)


WORKLOAD_PROFILES = (
    WorkloadProfile("web-shop", "day and week shape, growth, flash sales", "requests_per_second", web_shop),
    WorkloadProfile("public-api", "noise grows with level, outages", "requests_per_second", public_api),
    WorkloadProfile("batch-jobs", "spikes by the clock", "jobs_running", batch_jobs),
    WorkloadProfile("social-feed", "bursts out of nowhere, a weekly show", "messages_per_second", social_feed),
    WorkloadProfile("internal-tool", "mostly zero", "requests_per_minute", internal_tool, zero_is_valid=True),
    WorkloadProfile("checkout", "level shifts at releases", "requests_per_second", checkout),
)


def noise_factor(timeline: Timeline, chance: Chance, slow: float, quick: float) -> FloatArray:
    """A factor around 1 for each bin, with a slow and a quick part: shape (bins,)."""
    slow_part = slow * chance.drifting("slow noise", timeline, 45 * _MINUTE)
    return np.exp(slow_part + quick * chance.normal("quick noise", timeline))


def in_weeks(
    timeline: Timeline, zone: str, chance: Chance, draw: Callable[[datetime, np.random.Generator], list[Incident]]
) -> Iterator[Incident]:
    """The incidents of each week, by start."""
    for monday in timeline.mondays(zone):
        yield from sorted(draw(monday, chance.on(draw.__name__, monday)))


def _flash_sale(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    """On one day from Tuesday to Saturday, in three weeks of four."""
    start = monday + int(generator.integers(1, 6)) * DAY + int(generator.integers(10, 19)) * _HOUR
    length = int(generator.integers(4, 7)) * 30 * _MINUTE
    sale = Incident(start, start + length, Kind.FLASH_SALE, round(float(generator.uniform(1.8, 3.2)), 2))
    return [sale] if generator.random() < 0.75 else []


def _live_show(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    start = monday + 6 * DAY + 21 * _HOUR
    return [Incident(start, start + 90 * _MINUTE, Kind.LIVE_SHOW, round(float(generator.uniform(1.5, 2.5)), 2))]


def _outage(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    start = monday + int(generator.integers(0, 5 * 24 * 60)) * _MINUTE
    outage = Incident(start, start + int(generator.integers(15, 46)) * _MINUTE, Kind.OUTAGE, 0.03)
    return [outage] if generator.random() < 0.5 else []


def _bursts(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    """Many small bursts and a few large ones: their sizes have a Pareto distribution."""
    starts = [monday + int(generator.integers(0, 7 * 24 * 60)) * _MINUTE for _ in range(int(generator.poisson(7)))]
    sizes = [1.4 + float(min(generator.pareto(1.4), 10)) for _ in starts]
    return [
        Incident(start, start + int(generator.integers(2, 15)) * _MINUTE, Kind.BURST, round(size, 2))
        for start, size in zip(starts, sizes, strict=True)
    ]


def _releases(monday: datetime, generator: np.random.Generator) -> list[Incident]:
    """One release a week, on a working day; the level afterwards is well below or well above the usual level."""
    start = monday + int(generator.integers(0, SATURDAY)) * DAY + int(generator.integers(9 * 60, 16 * 60)) * _MINUTE
    level = float(generator.choice([generator.uniform(0.55, 0.8), generator.uniform(1.25, 1.7)]))
    return [Incident(start, start + 3 * _MINUTE, Kind.RELEASE, round(level, 2))]
