"""What safety costs: shortage against replica-hours, over quantiles and over the autoscaler's target; and the choice.

The cheapest point at given prices is the recommendation; a tuner keeps the one that it has until another is cheaper by
more than chance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

QUANTILES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.975, 0.99)
"""What a floor may cover."""
TARGETS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""What an HPA may aim at, as fractions of a replica."""
MIN_GAIN = 0.03
"""A tuner moves only for a cost that is lower by this share: less is chance."""
_SAME_COST = 1.003
"""Costs that differ by less are equal: a past holds few shortages, so what they cost is known roughly.

On the seven development series, quantiles at a price of 1: the cheapest alone gave 3.1 times fewer minutes short than
the HPA alone at 1.09 of its replica-hours, the safest within 0.3 % 3.3 at 1.10, within 1 % 3.5 at 1.11.
"""
_SAME_RISK = 1.02


@dataclass(frozen=True, slots=True)
class Prices:
    """What being short costs against what a replica costs, in one currency.

    under_provisioned_minute: a minute in which the ready replicas cannot carry the demand. replica_hour: one replica
    for an hour.
    """

    under_provisioned_minute: float
    replica_hour: float


QUANTILE_PRICES = Prices(1.0, 1.0)
"""Where nobody states prices and only the quantile is chosen."""
TARGET_PRICES = Prices(1.0, 0.8)
"""Where nobody states prices and the HPA's target is chosen as well: what it saves pays for more safety."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting and what it did over the same demand as all others of its frontier.

    hpa_target: a fraction of a replica. under_provisioned_share, lost_demand_share: ratios. minutes: under-provisioned.
    """

    quantile: float
    hpa_target: float
    under_provisioned_share: float
    lost_demand_share: float
    minutes: float
    replica_hours: float

    def cost(self, prices: Prices) -> float:
        """At these prices, in their currency."""
        return self.minutes * prices.under_provisioned_minute + self.replica_hours * prices.replica_hour


def cheapest(points: Iterable[Point], prices: Prices) -> Point:
    """The point of the lowest cost; of those that cost as much but for chance, the one that is short for least.

    Raises ValueError where there is no point.
    """
    every = tuple(points)
    lowest = min((point.cost(prices) for point in every), default=0.0)
    equals = (point for point in every if point.cost(prices) <= lowest * _SAME_COST)
    return min(equals, key=lambda it: (it.minutes, it.cost(prices), it.quantile, it.hpa_target))


def retuned(
    current: tuple[float, float] | None, points: Sequence[Point], prices: Prices, least_gain: float = MIN_GAIN
) -> Point:
    """The setting to go on with: the current (quantile, target) unless another costs less by the share `least_gain`.

    Two settings cannot each be cheaper than the other by a margin, so a tuner that sees the same frontier again stays
    where it is. A current setting that the frontier does not have is left for the cheapest.
    """
    best = cheapest(points, prices)
    held = next((point for point in points if (point.quantile, point.hpa_target) == current), None)
    if held is None or best.cost(prices) < held.cost(prices) * (1 - least_gain):
        return best
    return held


def at_target(points: Iterable[Point], target: float) -> list[Point]:
    """The part of a frontier in which the HPA's target is left as it is."""
    return [point for point in points if abs(point.hpa_target - target) < 1e-9]


def efficient(points: Iterable[Point]) -> list[Point]:
    """Those that no other beats in both shortage and cost, by replica-hours."""
    found: list[Point] = []
    for point in sorted(points, key=lambda it: (it.replica_hours, it.minutes)):
        if not found or point.minutes < found[-1].minutes:
            found.append(point)
    return found


def as_safe(points: Iterable[Point], minutes: float) -> Point | None:
    """The fewest replica-hours among those that are short for no more than `minutes`; None where none is."""
    safe = [point for point in points if point.minutes <= minutes * _SAME_RISK]
    return min(safe, key=lambda it: (it.replica_hours, it.minutes), default=None)
