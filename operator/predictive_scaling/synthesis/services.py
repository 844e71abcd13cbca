"""Services of all characters over one span."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.incidents import ANNOUNCED, Incident
from predictive_scaling.synthesis.timeline import FloatArray, Timeline
from predictive_scaling.synthesis.workload_profiles import WORKLOAD_PROFILES, WorkloadProfile

INSTANCES = 3
_DECIMALS = 3
_UNEVENNESS = 0.3
_SHIFTING = timedelta(hours=6)
_AHEAD = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make. step: whole seconds, a day is whole steps. until: the end of the last bin, cut to a whole step."""

    until: datetime
    days: int
    services: int = len(WORKLOAD_PROFILES)
    seed: int = 1
    step: timedelta = timedelta(minutes=1)

    @property
    def timeline(self) -> Timeline:
        """The span, in whole bins."""
        bins = timedelta(days=self.days) // self.step
        end = self.until - timedelta(seconds=self.until.timestamp() % self.step.total_seconds())
        return Timeline(end - bins * self.step, self.step, bins)

    @property
    def rows(self) -> int:
        """How many samples it comes to, at most: what is not measured is left out."""
        return self.services * INSTANCES * self.timeline.bins


@dataclass(frozen=True, slots=True)
class Service:
    """One service's demand. values: shape (INSTANCES, bins), never negative, NaN where nothing was measured.

    happenings: the truth behind it. announced: those of them that were known beforehand, and those that are to come.
    """

    name: str
    profile: WorkloadProfile
    timeline: Timeline
    values: FloatArray
    incidents: tuple[Incident, ...] = ()
    announced: tuple[Incident, ...] = ()

    @property
    def demand(self) -> FloatArray:
        """Over all instances: shape (bins,)."""
        return np.round(self.values.sum(axis=0), _DECIMALS)

    @property
    def rows(self) -> int:
        """Samples that there are."""
        return int(np.isfinite(self.values).sum())


def services(plan: Plan) -> Iterator[Service]:
    """One after the other, as they are large: the characters in turn, numbered from the second round on."""
    timeline = plan.timeline
    for number in range(plan.services):
        profile, rounds = WORKLOAD_PROFILES[number % len(WORKLOAD_PROFILES)], number // len(WORKLOAD_PROFILES)
        name = f"{profile.name}-{rounds + 1}" if rounds else profile.name
        chance = Chance(plan.seed, name)
        generated = profile.generate(timeline, chance)
        values = np.round(generated.values * _shares(timeline, chance), _DECIMALS)
        incidents = tuple(incident for incident in generated.incidents if incident.touches(timeline))
        announced = tuple(one for one in (*incidents, *_to_come(timeline, profile, chance)) if one.kind in ANNOUNCED)
        yield Service(name, profile, timeline, values, incidents, announced)


def _to_come(timeline: Timeline, profile: WorkloadProfile, chance: Chance) -> list[Incident]:
    """What begins within two weeks after the end: a later run with the same seed brings it."""
    coming = Timeline(timeline.end, timeline.step, timeline.bins_of(_AHEAD))
    return [
        incident
        for incident in profile.generate(coming, chance).incidents
        if timeline.end <= incident.start < coming.end
    ]


def _shares(timeline: Timeline, chance: Chance) -> FloatArray:
    """How demand is spread over the instances, never quite evenly: shape (INSTANCES, bins), the sums are 1."""
    leaning = [chance.drifting(f"share {number}", timeline, _SHIFTING) for number in range(INSTANCES)]
    weights = np.exp(_UNEVENNESS * np.stack(leaning))
    return weights / weights.sum(axis=0)
