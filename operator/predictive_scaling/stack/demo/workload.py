"""The demand that the demo replays and the matches behind it: generated, or recorded by others and read from files."""

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np

from forecasting.series import Series
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import Kind
from predictive_scaling.synthesis.match_days import SPORTS_SITE
from predictive_scaling.synthesis.timeline import DAY, Timeline

MINUTE = timedelta(minutes=1)

SEED = 1
_SEASON_START = datetime(2026, 3, 2, tzinfo=UTC)
_SEASON_DAYS = 88
GENERATED_DAY = date(2026, 5, 21)
"""The last day of the season with two matches: chosen by the schedule, not by the result."""

DEMAND_FILE = "worldcup98-requests-per-minute.csv.gz"
MATCHES_FILE = "worldcup98-matches.csv"
RECORDED_DAY = date(1998, 7, 3)
"""Two quarter-finals with an afternoon between them."""


@dataclass(frozen=True, slots=True)
class Match:
    """A match of the schedule."""

    name: str
    type: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Workload:
    """Demand and its matches, earliest first."""

    description: str
    """The source of the demand, for a sentence that begins "Demand: "."""
    demand: Series
    """Requests in each minute; NaN in minutes without a sample."""
    matches: tuple[Match, ...]
    default_day: date
    """The day that is replayed when no other is chosen. Only this day has a verdict."""


@cache
def generated_workload() -> Workload:
    """A season of a sports site from the project's own generator: the same numbers each time."""
    timeline = Timeline(_SEASON_START, MINUTE, _SEASON_DAYS * (DAY // MINUTE))
    generated = SPORTS_SITE.generate(timeline, Chance(SEED, SPORTS_SITE.name))
    matches = tuple(
        Match(incident.name, str(incident.kind), incident.start, incident.end)
        for incident in generated.incidents
        if incident.kind is Kind.MATCH and incident.touches(timeline)
    )
    demand = Series(f"generated-{SPORTS_SITE.name}", timeline.start, MINUTE, generated.values)
    return Workload(f"generated requests of a sports site (seed {SEED})", demand, matches, GENERATED_DAY)


def recorded_workload(folder: Path) -> Workload:
    """The recorded demand and the matches of a folder. Raises InvalidManifestError naming the file."""
    demand, matches = _read_demand(folder / DEMAND_FILE), _read_matches(folder / MATCHES_FILE)
    return Workload(f"recorded requests of {demand.name}", demand, matches, RECORDED_DAY)


def _read_demand(path: Path) -> Series:
    times, values = list[datetime](), list[float]()
    for row in _rows(path, ("timestamp", "value")):
        times.append(datetime.fromisoformat(row["timestamp"]))
        values.append(float(row["value"]))
    if not times:
        raise InvalidManifestError(f"{path} holds no samples; write one row per minute: timestamp,value")
    start = times[0]
    minutes = np.full(int((times[-1] - start) / MINUTE) + 1, np.nan)
    for at, value in zip(times, values, strict=True):
        minutes[int((at - start) / MINUTE)] = value
    return Series(name=path.name.partition(".")[0], start=start, step=MINUTE, values=minutes)


def _read_matches(path: Path) -> tuple[Match, ...]:
    matches = [
        Match(row["name"], row["type"], datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"]))
        for row in _rows(path, ("name", "type", "start", "end"))
    ]
    return tuple(sorted(matches, key=lambda match: (match.start, match.name)))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise InvalidManifestError(f"{path} is missing; --traces takes a folder with {DEMAND_FILE} and {MATCHES_FILE}")
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    reader = csv.DictReader(io.StringIO(content.decode()))
    if tuple(reader.fieldnames or ()) != columns:
        raise InvalidManifestError(f"{path} has the columns {reader.fieldnames}; expected {','.join(columns)}")
    yield from reader
