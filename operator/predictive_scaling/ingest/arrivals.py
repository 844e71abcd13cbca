"""Counts late samples and the smallest delay of each metric, in memory between two writes to the database."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from predictive_scaling.ingest.metrics import EARLY, LATE
from predictive_scaling.storage.sample_arrivals import HourArrivals, SampleArrivals
from predictive_scaling.storage.samples import Sample

LATE_AFTER = timedelta(minutes=5)
"""Later samples are missing when forecasts are made: each tick reads the demand of the last five minutes again."""
EARLY_BEFORE = timedelta(seconds=1)
INTERVAL_SECONDS = 60.0

Key = tuple[str, str, datetime]


@dataclass(slots=True)
class _Arrived:
    samples: int = 0
    late: int = 0
    min_delay: timedelta = timedelta.max


@dataclass(slots=True)
class Arrivals:
    """The arrivals since the last write. A crash loses those of at most INTERVAL_SECONDS."""

    _arrived: dict[Key, _Arrived] = field(default_factory=dict[Key, _Arrived])

    def note(self, samples: Iterable[Sample], now: datetime) -> None:
        """Count samples that were committed at `now`."""
        hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        late = early = 0
        for sample in samples:
            key = (sample.service_name, sample.metric_name, hour)
            entry = self._arrived.get(key) or self._arrived.setdefault(key, _Arrived())
            delay = now - sample.time
            entry.samples += 1
            if delay > LATE_AFTER:
                entry.late += 1
                late += 1
            if delay < -EARLY_BEFORE:
                early += 1
            entry.min_delay = min(entry.min_delay, delay)
        LATE.inc(late)
        EARLY.inc(early)

    async def write(self, table: SampleArrivals) -> None:
        """Add the arrivals to the table. Raises DatabaseUnavailableError; they are then written with the next ones."""
        arrived, self._arrived = self._arrived, {}
        rows = [
            HourArrivals(*key, entry.samples, entry.late, entry.min_delay.total_seconds())
            for key, entry in arrived.items()
        ]
        if not rows:
            return
        try:
            await table.add(rows)
        except BaseException:
            self._merge(arrived)
            raise

    def _merge(self, arrived: dict[Key, _Arrived]) -> None:
        for key, entry in arrived.items():
            newer = self._arrived.setdefault(key, _Arrived())
            newer.samples += entry.samples
            newer.late += entry.late
            newer.min_delay = min(newer.min_delay, entry.min_delay)
