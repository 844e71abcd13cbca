"""The gain of policies over the HPA alone at the same replica-hours, over several series."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.bench.scaling import ScalingResult


@dataclass(frozen=True, slots=True)
class Gains:
    """Results over several series.

    minutes, hpa_alone_minutes, same_hours_minutes: sums of minutes short, of the policy, of the HPA alone, and of the
    HPA alone at the policy's replica-hours. hours: the mean of replica-hours relative to the HPA alone. in_sum, median:
    times fewer minutes than the HPA at the same hours, of the sums and over the series.
    """

    minutes: float
    hpa_alone_minutes: float
    same_hours_minutes: float
    hours: float
    in_sum: float
    median: float


def gains(series: Sequence[ScalingResult], way: str) -> Gains:
    """Return the gains of one way of scaling over at least one series."""
    minutes = sum(result.minutes[way] for result in series)
    same = sum(result.same_hours[way].minutes for result in series)
    return Gains(
        minutes=minutes,
        hpa_alone_minutes=sum(result.minutes["hpa_only"] for result in series),
        same_hours_minutes=same,
        hours=float(np.mean([result.hours[way] for result in series])),
        in_sum=same / minutes if minutes else float("inf") if same else 1.0,
        median=float(np.median([result.gain(way) for result in series])),
    )
