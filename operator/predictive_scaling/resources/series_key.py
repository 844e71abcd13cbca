"""Identify a series of demand, name its folder, and select series to train."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from predictive_scaling.resources.vocabulary import Aggregation

_UNSAFE = re.compile(r"[^a-z0-9]+")
_MAX_READABLE = 48


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """A series of demand, as `spec.demand` of a ScalingPolicy names it. aggregation: Sum, Mean or Max."""

    service: str
    metric: str
    aggregation: str = Aggregation.SUM.value

    @property
    def slug(self) -> str:
        """Folder name: readable, safe on any file system, and different for different keys.

        >>> SeriesKey("shop/checkout", "requests_per_second", "Sum").slug
        'shop-checkout-requests-per-second-sum-8164358d'
        """
        readable = _UNSAFE.sub("-", f"{self.service}-{self.metric}-{self.aggregation}".lower()).strip("-")
        digest = hashlib.sha256("\0".join((self.service, self.metric, self.aggregation)).encode()).hexdigest()
        return f"{readable[:_MAX_READABLE].strip('-')}-{digest[:8]}"

    def __str__(self) -> str:
        return f"{self.service}/{self.metric}/{self.aggregation}"


SHARED = SeriesKey("shared", "*", "*")
"""Key of the shared model; no metric can have this name."""


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Select series to train. Without services, metric and aggregation it selects every series."""

    services: frozenset[str]
    metric: str | None
    aggregation: str | None

    def select(self, keys: Sequence[SeriesKey]) -> list[SeriesKey]:
        """Return the selected series.

        If the filter names both services and metric, these series are selected even if `keys` does not contain them.
        """
        if self.services and self.metric:
            return [SeriesKey(service, self.metric, self.aggregation or "Sum") for service in sorted(self.services)]
        return [key for key in keys if self._matches(key)]

    def _matches(self, key: SeriesKey) -> bool:
        return (
            (not self.services or key.service in self.services)
            and self.metric in (None, key.metric)
            and self.aggregation in (None, key.aggregation)
        )


EVERY_SERIES = SeriesFilter(frozenset(), None, None)
