"""The replayed hours, their demand, and the capacity of a replica."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from forecasting.series import FloatArray, Series
from predictive_scaling.errors import InvalidManifestError
from predictive_scaling.stack.demo.workload import MINUTE, Match, Workload
from predictive_scaling.synthesis.timeline import DAY

BEFORE_FIRST_MATCH = timedelta(minutes=90)
AFTER_LAST_MATCH = timedelta(minutes=40)
PEAK_PERCENTILE = 99.9
PEAK_REPLICAS = 20
PEAK_UTILIZATION = 0.7

SERVICE = "sports-site"
METRIC = "requests_per_minute"
HPA_UTILIZATION = 0.8
"""The target of both HPAs, as a fraction of the capacity of a replica."""
POD_START = timedelta(minutes=8)
"""From a pod's creation to ready, as where a node has to be added first."""


@dataclass(frozen=True, slots=True)
class DemoScenario:
    """The window of a replay and its demand."""

    day: date
    begins_at: datetime
    ends_at: datetime
    demand: Series
    """The entire series, in requests a minute."""
    matches: tuple[Match, ...]
    """The matches of the day."""
    earlier: tuple[Match, ...]
    """The matches that ended before the window; the effect of a match is learned from them."""
    per_replica: float
    """Requests a minute that one ready replica serves at 100 %."""
    demand_source: str
    """See Workload.description."""
    default_day: date
    quantile: str
    """See Workload.quantile."""

    @property
    def minutes(self) -> int:
        return round((self.ends_at - self.begins_at) / MINUTE)

    @property
    def has_verdict(self) -> bool:
        return self.day == self.default_day

    def demand_at(self, at: datetime) -> float:
        """Requests a minute at this moment; a minute without a sample has the value of the minute before."""
        values = self.demand.values[: self._index(at) + 1]
        known = values[np.isfinite(values)]
        return float(known[-1]) if len(known) else 0.0

    def replayed(self) -> FloatArray:
        """Demand of each minute of the window, shape (minutes,)."""
        return np.array([self.demand_at(self.begins_at + minute * MINUTE) for minute in range(self.minutes)])

    def samples(self, since: datetime, until: datetime) -> list[tuple[datetime, float]]:
        """The samples of the minutes that begin in [since, until)."""
        first, last = max(0, self._index(since)), max(0, self._index(until))
        chosen = enumerate(self.demand.values[first:last], start=first)
        return [(self.demand.start + index * MINUTE, float(value)) for index, value in chosen if math.isfinite(value)]

    def _index(self, at: datetime) -> int:
        return min(int((at - self.demand.start) / MINUTE), len(self.demand.values))


def make_scenario(workload: Workload, day: date | None = None) -> DemoScenario:
    """The hours around the matches of `day`, from 90 minutes before the first kick-off.

    day: by default the workload's own. Raises InvalidManifestError when no match was played on it, naming the nearest
    days that had one, or when the demand does not cover it.
    """
    demand, matches, day = workload.demand, workload.matches, day or workload.default_day
    chosen = tuple(match for match in matches if match.start.date() == day)
    if not chosen:
        near = sorted({match.start.date() for match in matches}, key=lambda other: abs(other - day))[:3]
        known = ", ".join(other.isoformat() for other in sorted(near))
        raise InvalidManifestError(
            f"no match was played on {day.isoformat()}; days near it with one: {known}; choose it with --day"
        )
    begins_at = chosen[0].start - BEFORE_FIRST_MATCH
    if begins_at < demand.start or max(match.end for match in chosen) > demand.end:
        raise InvalidManifestError(
            f"the demand of {demand.name}, {demand.start.isoformat()} to {demand.end.isoformat()}, does not cover the "
            f"matches of {day.isoformat()} from {BEFORE_FIRST_MATCH} before the first; choose another day with --day"
        )
    return DemoScenario(
        day=day,
        begins_at=begins_at,
        ends_at=max(match.end for match in chosen) + AFTER_LAST_MATCH,
        demand=demand,
        matches=chosen,
        earlier=tuple(match for match in matches if match.end <= begins_at),
        per_replica=replica_capacity(demand, matches),
        demand_source=workload.description,
        default_day=workload.default_day,
        quantile=workload.quantile,
    )


def replica_capacity(demand: Series, matches: Sequence[Match]) -> float:
    """Requests a minute such that 20 replicas at 70 % carry the 99.9th percentile of all minutes of the season.

    The season lasts from the first match day to the last.
    """
    edges = _midnight(matches[0].start), _midnight(matches[-1].start) + DAY
    first, last = (max(0, int((edge - demand.start) / MINUTE)) for edge in edges)
    peak = float(np.nanpercentile(demand.values[first:last], PEAK_PERCENTILE))
    return peak / (PEAK_REPLICAS * PEAK_UTILIZATION)


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def object_name(match: Match) -> str:
    """A name that Kubernetes accepts.

    >>> at = datetime.fromisoformat("2026-05-23T13:00:00Z")
    >>> object_name(Match("Amber v Jade", "match", at, at))
    '2026-05-23-amber-v-jade'
    """
    return f"{match.start.date().isoformat()}-{re.sub(r'[^a-z0-9]+', '-', match.name.lower()).strip('-')}"
