"""Synthetic services of all workload profiles over the same span of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import ANNOUNCED, Incident
from predictive_scaling.synthesis.match_days import SPORTS_SITE
from predictive_scaling.synthesis.timeline import FloatArray, Timeline
from predictive_scaling.synthesis.workload_profiles import WORKLOAD_PROFILES, WorkloadProfile

PROFILES = (*WORKLOAD_PROFILES, SPORTS_SITE)
"""The profiles of services, in order."""
INSTANCES = 3
_DECIMALS = 3
_SHARE_SPREAD = 0.3
_SHARE_DRIFT = timedelta(hours=6)
_ANNOUNCED_AHEAD = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of the generated data. step: full seconds, divides a day. until: rounded down to a full step."""

    until: datetime
    days: int
    services: int = len(PROFILES)
    seed: int = 1
    step: timedelta = timedelta(minutes=1)

    @property
    def timeline(self) -> Timeline:
        """The span, in full bins that end at `until`."""
        bins = timedelta(days=self.days) // self.step
        end = self.until - timedelta(seconds=self.until.timestamp() % self.step.total_seconds())
        return Timeline(end - bins * self.step, self.step, bins)

    @property
    def rows(self) -> int:
        """The maximum number of samples; bins without a measurement are left out."""
        return self.services * INSTANCES * self.timeline.bins


@dataclass(frozen=True, slots=True)
class Service:
    """The demand of a service. values: shape (INSTANCES, bins), never negative, NaN where nothing was measured.

    incidents: those within the timeline. announced: those known beforehand, including the next two weeks.
    """

    name: str
    profile: WorkloadProfile
    timeline: Timeline
    values: FloatArray
    incidents: tuple[Incident, ...] = ()
    announced: tuple[Incident, ...] = ()

    @property
    def demand(self) -> FloatArray:
        """The sum over all instances: shape (bins,)."""
        return np.round(self.values.sum(axis=0), _DECIMALS)

    @property
    def rows(self) -> int:
        """The number of measured samples."""
        return int(np.isfinite(self.values).sum())


def services(plan: Plan) -> Iterator[Service]:
    """Generate the services one at a time, as they are large. Profiles repeat, with the suffixes -2, -3 and so on."""
    timeline = plan.timeline
    for number in range(plan.services):
        profile, rounds = PROFILES[number % len(PROFILES)], number // len(PROFILES)
        name = f"{profile.name}-{rounds + 1}" if rounds else profile.name
        chance = Chance(plan.seed, name)
        generated = profile.generate(timeline, chance)
        values = np.round(generated.values * _shares(timeline, chance), _DECIMALS)
        incidents = tuple(incident for incident in generated.incidents if incident.touches(timeline))
        upcoming = _upcoming(timeline, profile, chance)
        announced = tuple(incident for incident in (*incidents, *upcoming) if incident.kind in ANNOUNCED)
        yield Service(name, profile, timeline, values, incidents, announced)


def _upcoming(timeline: Timeline, profile: WorkloadProfile, chance: Chance) -> list[Incident]:
    """The incidents of the two weeks after the end; a later run with the same seed generates their demand."""
    ahead = Timeline(timeline.end, timeline.step, timeline.bins_of(_ANNOUNCED_AHEAD))
    return [
        incident for incident in profile.generate(ahead, chance).incidents if timeline.end <= incident.start < ahead.end
    ]


def _shares(timeline: Timeline, chance: Chance) -> FloatArray:
    """The share of demand of each instance, slightly uneven: shape (INSTANCES, bins), each column sums to 1."""
    drifts = [chance.drifting(f"share {number}", timeline, _SHARE_DRIFT) for number in range(INSTANCES)]
    weights = np.exp(_SHARE_SPREAD * np.stack(drifts))
    return weights / weights.sum(axis=0)
