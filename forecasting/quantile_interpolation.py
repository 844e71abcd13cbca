"""Interpolation between the quantiles of a forecast, shared by operator, backtest and Forecast.at."""

from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple


class QuantileWeights(NamedTuple):
    """A quantile as a weighted sum of two columns of a forecast. The weights add up to 1."""

    low: int
    high: int
    low_weight: float
    high_weight: float

    def of(self, row: list[float]) -> float:
        """Return the quantile of a bin. row: its values, in the order of the quantiles of the forecast."""
        return self.low_weight * row[self.low] + self.high_weight * row[self.high]

    def by_column(self, columns: int) -> tuple[float, ...]:
        """Return the weight of each of `columns` columns, for matrix products over many bins.

        >>> quantile_weights((0.1, 0.5, 0.9), 0.9).by_column(3)
        (0.0, 0.0, 1.0)
        """
        weights = [0.0] * columns
        weights[self.low] += self.low_weight
        weights[self.high] += self.high_weight
        return tuple(weights)


@lru_cache(maxsize=4096)
def quantile_weights(quantiles: tuple[float, ...], quantile: float) -> QuantileWeights:
    """Return the weights of `quantile`, linear in the normal score between its neighbours.

    Above the highest quantile the line through the last two continues: demand is assumed to be normal there. Below the
    lowest quantile, the lowest is returned. quantiles: ascending, each in (0, 1).
    """
    if quantile in quantiles:
        exact = quantiles.index(quantile)
        return QuantileWeights(exact, exact, 1.0, 0.0)
    if quantile < quantiles[0] or len(quantiles) == 1:
        return QuantileWeights(0, 0, 1.0, 0.0)
    high = next((index for index, known in enumerate(quantiles) if known > quantile), len(quantiles) - 1)
    normal = NormalDist()
    below, above, score = (normal.inv_cdf(known) for known in (quantiles[high - 1], quantiles[high], quantile))
    share = (score - below) / (above - below)
    return QuantileWeights(high - 1, high, 1.0 - share, share)
