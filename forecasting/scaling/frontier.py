"""The frontier of shortage against replica-hours, over quantiles and over the HPA's target, and the choice of a point.

The cheapest point at the given prices is the recommendation. A tuner keeps its current point until another is cheaper
by more than chance.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

QUANTILES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.925, 0.95, 0.975, 0.99)
"""The quantiles of demand that are compared for the floor."""
TARGETS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""The target utilizations of an HPA that are compared, as fractions of a replica."""
MIN_GAIN = 0.03
"""A tuner changes its setting only for a cost that is lower by this share: smaller differences are chance."""
_SAME_COST = 1.003
"""Costs that differ by a smaller ratio count as equal: history has few shortages, so their cost is a rough estimate.

On the seven development series, quantiles at a price of 1: the cheapest point had 3.1 times fewer under-provisioned
minutes than the HPA alone, at 1.09 times its replica-hours. The safest point within 0.3 % of that cost had 3.3 times
fewer at 1.10, the safest within 1 % 3.5 times fewer at 1.11.
"""
_SAME_RISK = 1.02


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a shortage and of a replica, in one currency.

    under_provisioned_minute: a minute in which the ready replicas cannot carry the demand. replica_hour: one replica
    for an hour.
    """

    under_provisioned_minute: float
    replica_hour: float


QUANTILE_PRICES = Prices(1.0, 1.0)
"""Default prices for the choice of the quantile alone."""
TARGET_PRICES = Prices(1.0, 0.8)
"""Default prices for the choice of quantile and HPA target: the savings of a higher target pay for more safety."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting and its result over the demand that all points of a frontier share.

    hpa_target: a fraction of a replica. under_provisioned_share, lost_demand_share: ratios. minutes: under-provisioned.
    """

    quantile: float
    hpa_target: float
    under_provisioned_share: float
    lost_demand_share: float
    minutes: float
    replica_hours: float

    def cost(self, prices: Prices) -> float:
        """Return the cost at these prices, in their currency."""
        return self.minutes * prices.under_provisioned_minute + self.replica_hours * prices.replica_hour


def cheapest(points: Iterable[Point], prices: Prices) -> Point:
    """Return the point of the lowest cost; among equal costs (see _SAME_COST) the one with the fewest minutes short.

    Raises ValueError without points.
    """
    candidates = tuple(points)
    lowest = min((point.cost(prices) for point in candidates), default=0.0)
    equals = (point for point in candidates if point.cost(prices) <= lowest * _SAME_COST)
    return min(equals, key=lambda point: (point.minutes, point.cost(prices), point.quantile, point.hpa_target))


def retuned(
    current: tuple[float, float] | None, points: Sequence[Point], prices: Prices, min_gain: float = MIN_GAIN
) -> Point:
    """Return the next setting: the current (quantile, target) unless another costs less by the share `min_gain`.

    Two settings cannot each be cheaper than the other by a margin, so the same frontier again changes nothing. A
    current setting that the frontier does not contain is replaced by the cheapest.
    """
    best = cheapest(points, prices)
    kept = next((point for point in points if (point.quantile, point.hpa_target) == current), None)
    if kept is None or best.cost(prices) < kept.cost(prices) * (1 - min_gain):
        return best
    return kept


def at_target(points: Iterable[Point], target: float) -> list[Point]:
    """Return the points with this HPA target."""
    return [point for point in points if abs(point.hpa_target - target) < 1e-9]


def efficient(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both minutes short and replica-hours, ascending by replica-hours."""
    undominated: list[Point] = []
    for point in sorted(points, key=lambda point: (point.replica_hours, point.minutes)):
        if not undominated or point.minutes < undominated[-1].minutes:
            undominated.append(point)
    return undominated


def as_safe(points: Iterable[Point], minutes: float) -> Point | None:
    """Return the point with the fewest replica-hours among those short for at most `minutes`; None without any."""
    safe = [point for point in points if point.minutes <= minutes * _SAME_RISK]
    return min(safe, key=lambda point: (point.replica_hours, point.minutes), default=None)
