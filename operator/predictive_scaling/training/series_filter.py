"""Which series are to be trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from predictive_scaling.models.series_key import SeriesKey


@dataclass(frozen=True, slots=True)
class SeriesFilter:
    """Which series to train; none named: all."""

    services: frozenset[str]
    metric: str | None
    aggregation: str | None

    def select(self, keys: Sequence[SeriesKey]) -> list[SeriesKey]:
        """Those of `keys` that were chosen. A series that is named in full is trained even if it is not among them."""
        if self.services and self.metric:
            return [SeriesKey(service, self.metric, self.aggregation or "Sum") for service in sorted(self.services)]
        return [key for key in keys if self._has(key)]

    def _has(self, key: SeriesKey) -> bool:
        return (
            (not self.services or key.service in self.services)
            and self.metric in (None, key.metric)
            and self.aggregation in (None, key.aggregation)
        )


EVERY_SERIES = SeriesFilter(frozenset(), None, None)
