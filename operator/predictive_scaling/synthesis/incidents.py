"""Incidents of a service (sales, shows, matches, bursts, outages, releases) and their effect on demand."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from predictive_scaling.synthesis.timeline import FloatArray, Timeline


class Kind(StrEnum):
    """The kind of an incident."""

    FLASH_SALE = "flash-sale"
    LIVE_SHOW = "live-show"
    BURST = "burst"
    OUTAGE = "outage"
    RELEASE = "release"
    MATCH = "match"


ANNOUNCED = frozenset({Kind.FLASH_SALE, Kind.LIVE_SHOW, Kind.MATCH})
"""Kinds that are known beforehand and get BusinessEvents. Bursts, outages and releases are not announced."""


@dataclass(frozen=True, slots=True, order=True)
class Incident:
    """An incident, half-open in time.

    factor: multiplies demand while it lasts; for a match, the factor at its end without goals. name: of a match, empty
    for other kinds.
    """

    start: datetime
    end: datetime
    kind: Kind
    factor: float
    name: str = ""

    def touches(self, timeline: Timeline) -> bool:
        """Whether the incident overlaps the timeline."""
        return self.start < timeline.end and self.end > timeline.start


def factors(incidents: Iterable[Incident], timeline: Timeline, *, rise: timedelta, fall: timedelta) -> FloatArray:
    """The factor of demand at each bin: shape (bins,).

    It rises linearly over `rise` before the start and decays with the time constant `fall` after the end. The factors
    of overlapping incidents are multiplied.
    """
    seconds = timeline.seconds
    factor = np.ones(timeline.bins)
    for incident in incidents:
        begin, end = incident.start.timestamp(), incident.end.timestamp()
        rising = np.clip((seconds - begin) / max(1.0, rise.total_seconds()) + 1, 0.0, 1.0)
        falling = np.exp(-np.maximum(seconds - end, 0.0) / max(1.0, fall.total_seconds()))
        factor *= 1 + (incident.factor - 1) * rising * falling
    return factor


def within(incident: Incident, timeline: Timeline) -> slice:
    """The bins that begin during an incident."""
    begin, end = np.searchsorted(timeline.seconds, [incident.start.timestamp(), incident.end.timestamp()])
    return slice(int(begin), int(end))
