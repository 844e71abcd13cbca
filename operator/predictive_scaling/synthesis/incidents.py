"""What befalls a service at a time: sales, shows, bursts, outages, releases; and what it does to demand."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from predictive_scaling.synthesis.timeline import FloatArray, Timeline


class Kind(StrEnum):
    """What it is."""

    FLASH_SALE = "flash-sale"
    LIVE_SHOW = "live-show"
    BURST = "burst"
    OUTAGE = "outage"
    RELEASE = "release"


ANNOUNCED = frozenset({Kind.FLASH_SALE, Kind.LIVE_SHOW})
"""Known beforehand: these get BusinessEvents. Nobody tells of a burst, an outage or a release."""


@dataclass(frozen=True, slots=True, order=True)
class Incident:
    """The truth about one, half-open in time. factor: what demand is multiplied by while it lasts."""

    start: datetime
    end: datetime
    kind: Kind
    factor: float

    def touches(self, timeline: Timeline) -> bool:
        """Whether any of it lies within."""
        return self.start < timeline.end and self.end > timeline.start


def factors(incidents: Iterable[Incident], timeline: Timeline, *, rise: timedelta, fall: timedelta) -> FloatArray:
    """What demand is multiplied by at each bin: shape (bins,).

    It climbs over `rise` before the start, holds, and comes back with the time constant `fall` after the end. Where
    several overlap, they multiply.
    """
    seconds = timeline.seconds
    found = np.ones(timeline.bins)
    for incident in incidents:
        begin, end = incident.start.timestamp(), incident.end.timestamp()
        climb = np.clip((seconds - begin) / max(1.0, rise.total_seconds()) + 1, 0.0, 1.0)
        back = np.exp(-np.maximum(seconds - end, 0.0) / max(1.0, fall.total_seconds()))
        found *= 1 + (incident.factor - 1) * climb * back
    return found


def within(one: Incident, timeline: Timeline) -> slice:
    """The bins that begin while it lasts."""
    begin, end = np.searchsorted(timeline.seconds, [one.start.timestamp(), one.end.timestamp()])
    return slice(int(begin), int(end))
