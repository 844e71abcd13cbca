"""The choice of the model that serves a series: its own, else the shared one, else a naive one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from forecasting.series import Series
from predictive_scaling.models.loading import Loaded
from predictive_scaling.models.manifest import GateRecord, Manifest
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_cache import ModelCache
from predictive_scaling.serving.served_models import KnownModel, ServedModel, SharedTier


@dataclass(frozen=True, slots=True)
class Tiers:
    """The models at the start of a batch. load: loads an admitted version again."""

    known: Mapping[SeriesKey, KnownModel]
    cache: ModelCache
    shared: SharedTier | None
    load: Callable[[Manifest], Loaded | None]

    def serving(self, key: SeriesKey, series: Series, *, gated: bool = True) -> ServedModel | None:
        """Return the LightGBM that may act for a series: its own while it is in memory, else the shared one, else None.

        gated: only where the gate passed it, at the horizons where it did; otherwise wherever it can forecast.
        """
        known = self.known.get(key)
        if known is not None and known.can_forecast(series) and (known.manifest.gate.passed or not gated):
            manifest = known.manifest
            own = self.cache.get(key, manifest.version, lambda: self.load(manifest))
            if own is not None:
                return own if gated else replace(own, by_horizon=())
        return self.shared.serves(key, series.step, gated=gated) if self.shared is not None else None

    def verdict(self, key: SeriesKey, model: str) -> GateRecord | None:
        """Return the verdict on the models of a series, or on the shared model for it where that is `model`."""
        if self.shared is not None and model == self.shared.loaded.manifest.model:
            return self.shared.gate(key)
        known = self.known.get(key)
        return known.manifest.gate if known is not None else None
