"""Who answers for a series: its own model, else the one that all share, else a naive one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from forecasting.series import Series
from predictive_scaling.training.loading import Loaded
from predictive_scaling.training.manifest import Manifest
from predictive_scaling.training.residents import Residents
from predictive_scaling.training.series_keys import SeriesKey
from predictive_scaling.training.served import Known, Served, SharedTier


@dataclass(frozen=True, slots=True)
class Tiers:
    """The models as they were when a batch began. load: reads a version that was admitted again."""

    known: Mapping[SeriesKey, Known]
    residents: Residents
    shared: SharedTier | None
    load: Callable[[Manifest], Loaded | None]

    def serving(self, key: SeriesKey, series: Series) -> Served | None:
        """The LightGBM that may act for a series: its own while it is in memory, the shared one; None for none."""
        known = self.known.get(key)
        if known is not None and known.acts(series):
            manifest = known.manifest
            own = self.residents.get(key, manifest.version, lambda: self.load(manifest))
            if own is not None:
                return own
        return self.shared.serves(key, series.step) if self.shared is not None else None
