"""The demand that the demo replays and the matches behind it: generated, or recorded by others and read from files."""

import csv
import gzip
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

from forecasting.series import Series
from predictive_scaling.backtesting.traces.csv_trace import read_csv
from predictive_scaling.errors import InvalidManifestError, InvalidTraceError
from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import Kind
from predictive_scaling.synthesis.match_days import SPORTS_SITE
from predictive_scaling.synthesis.timeline import DAY, Timeline

MINUTE = timedelta(minutes=1)
_COLUMNS = ("name", "type", "start", "end")

SEED = 1
_SEASON_START = datetime(2026, 3, 2, tzinfo=UTC)
_SEASON_DAYS = 70
"""One cup, from the first week of the groups to the final."""
GENERATED_DAY = date(2026, 5, 2)
"""The day with two quarter-finals: chosen by the schedule, not by the result."""

GENERATED_RAMP = timedelta(minutes=30)
"""How long before a kick-off visitors come; recorded matches declare no ramp, so that their course is learned."""

GENERATED_QUANTILE, RECORDED_QUANTILE = "0.85", "0.5"
"""Of the policy. Chosen on other generated days, and on the four days of the World Cup's round of 16 before 3 July: the
lowest from 0.5 to 0.85 that is short for at most a fifth of the minutes of the HPA alone.
"""

RECORDED_DAY = date(1998, 7, 3)
"""Two quarter-finals of the World Cup with an afternoon between them."""


@dataclass(frozen=True, slots=True)
class Match:
    """A match of the schedule."""

    name: str
    type: str
    start: datetime
    end: datetime
    ramp: timedelta = timedelta()
    """How long before the start visitors come, where a team knows it without any measurement."""


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
    quantile: str
    """Of the policy's forecast."""


@cache
def generated_workload() -> Workload:
    """A season of a sports site from the project's own generator: the same numbers each time."""
    timeline = Timeline(_SEASON_START, MINUTE, _SEASON_DAYS * (DAY // MINUTE))
    generated = SPORTS_SITE.generate(timeline, Chance(SEED, SPORTS_SITE.name))
    matches = tuple(
        Match(incident.name, str(incident.kind), incident.start, incident.end, GENERATED_RAMP)
        for incident in generated.incidents
        if incident.kind is Kind.MATCH and incident.touches(timeline)
    )
    demand = Series(f"generated-{SPORTS_SITE.name}", timeline.start, MINUTE, generated.values)
    return Workload(
        f"generated requests of a sports site (seed {SEED})", demand, matches, GENERATED_DAY, GENERATED_QUANTILE
    )


def recorded_workload(trace: Path, events: Path) -> Workload:
    """The demand and the matches of two CSV files, gzipped or not.

    Raises InvalidTraceError or InvalidManifestError naming the file.
    """
    demand, matches = _read_demand(trace), _read_matches(events)
    return Workload(f"recorded requests of {demand.name}", demand, matches, _recorded_day(matches), RECORDED_QUANTILE)


def _recorded_day(matches: Sequence[Match]) -> date:
    """3 July 1998 where it has matches, else the last of the days with the most matches."""
    counts = Counter(match.start.date() for match in matches)
    return RECORDED_DAY if RECORDED_DAY in counts else max(counts, key=lambda day: (counts[day], day))


def _read_demand(path: Path) -> Series:
    demand = read_csv(path).series
    if demand.step != MINUTE:
        raise InvalidTraceError(f"{path} has one value every {demand.step}; the demo replays one value every minute")
    return demand


def _read_matches(path: Path) -> tuple[Match, ...]:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise InvalidManifestError(f"{path} has the columns {reader.fieldnames}; expected {','.join(_COLUMNS)}")
        matches = [_match(path, reader.line_num, row) for row in reader]
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidManifestError(f"{path} cannot be read: {error}") from None
    if not matches:
        raise InvalidManifestError(f"{path} has no matches; write one row per match: {','.join(_COLUMNS)}")
    return tuple(sorted(matches, key=lambda match: (match.start, match.name)))


def _match(path: Path, line: int, row: dict[str, str | None]) -> Match:
    name, type_, start, end = (row[column] or "" for column in _COLUMNS)
    try:
        match = Match(name, type_, datetime.fromisoformat(start), datetime.fromisoformat(end))
    except ValueError as error:
        raise InvalidManifestError(f"{path}, line {line}: {error}") from None
    if not name or not type_ or match.start.tzinfo is None or match.end.tzinfo is None or match.end <= match.start:
        raise InvalidManifestError(
            f"{path}, line {line}: a match needs a name, a type, and a start before its end, both with a time zone, "
            "such as 1998-07-03T14:30:00Z"
        )
    return match
