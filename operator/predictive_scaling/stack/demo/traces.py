"""The recorded demand and the matches behind it, from examples/traces."""

import csv
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from forecasting.series import Series
from predictive_scaling.errors import InvalidManifestError

DEMAND_FILE = "worldcup98-requests-per-minute.csv.gz"
MATCHES_FILE = "worldcup98-matches.csv"
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Match:
    """A football match of the schedule."""

    name: str
    type: str
    start: datetime
    end: datetime


def read_demand(path: Path) -> Series:
    """Requests in each minute; NaN in minutes that the trace does not have.

    Raises InvalidManifestError naming the file and what is wrong with it.
    """
    times, values = list[datetime](), list[float]()
    for row in _rows(path, ("timestamp", "value")):
        times.append(datetime.fromisoformat(row["timestamp"]))
        values.append(float(row["value"]))
    if not times:
        raise InvalidManifestError(f"{path} holds no samples; copy it again from the checkout's examples/traces")
    start = times[0]
    minutes = np.full(int((times[-1] - start) / MINUTE) + 1, np.nan)
    for at, value in zip(times, values, strict=True):
        minutes[int((at - start) / MINUTE)] = value
    return Series(name=path.name.partition(".")[0], start=start, step=MINUTE, values=minutes)


def read_matches(path: Path) -> tuple[Match, ...]:
    """All matches, earliest first. Raises InvalidManifestError naming the file."""
    matches = [
        Match(row["name"], row["type"], datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"]))
        for row in _rows(path, ("name", "type", "start", "end"))
    ]
    return tuple(sorted(matches, key=lambda match: (match.start, match.name)))


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise InvalidManifestError(f"{path} is not there; run from the checkout, or name the folder with --traces")
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    reader = csv.DictReader(io.StringIO(content.decode()))
    if tuple(reader.fieldnames or ()) != columns:
        raise InvalidManifestError(f"{path} has the columns {reader.fieldnames}; expected {','.join(columns)}")
    yield from reader
