"""Which model serves a series, and the shared one among them."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.events import Effects
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.lightgbm_quantiles import FittedLightGBM
from forecasting.quality.gate import acting_at
from forecasting.series import Series
from predictive_scaling.models.loading import Loaded
from predictive_scaling.models.manifest import ActingRecord, GateRecord, Manifest
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.serving.live_errors import LiveErrors, nothing_known


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that acts for a series. errors: those that it made on it. by_horizon: where another acts."""

    model: FittedLightGBM
    errors: LiveErrors
    by_horizon: tuple[ActingRecord, ...]

    def acting(self, step: int) -> str:
        """The model that acts so many bins ahead."""
        return acting_at(self.by_horizon, step, self.model.name)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What is known of a series' own models, whether its LightGBM is in memory or not.

    effects: of known events; learned whether LightGBM acts or not.
    """

    manifest: Manifest
    holt_winters: FittedHoltWinters
    effects: Effects | None = None

    def can_forecast(self, series: Series) -> bool:
        """Whether it has a LightGBM that learned at the series' step and place."""
        manifest = self.manifest
        return bool(manifest.files) and _same(manifest, series.step) and manifest.place == series.context.calendar


def served(loaded: Loaded) -> ServedModel | None:
    """A series' own model; None where there is no LightGBM."""
    if loaded.lightgbm is None:
        return None
    horizons = np.array(loaded.manifest.residual_horizons, dtype=np.int64)
    known = loaded.residuals if loaded.residuals is not None else nothing_known(horizons)
    return ServedModel(loaded.lightgbm, LiveErrors(horizons, known), loaded.manifest.gate.by_horizon)


class SharedTier:
    """The shared model in use, and its errors on each series that it serves: about 60 kB a series."""

    def __init__(self, loaded: Loaded, before: "SharedTier | None" = None) -> None:
        """before: the one that it replaces; what it knows of series that the training did not judge is kept."""
        self.loaded = loaded
        self._lock = threading.Lock()
        self._errors: dict[SeriesKey, LiveErrors] = {}
        if before is not None and before.loaded.manifest.residual_horizons == loaded.manifest.residual_horizons:
            self._errors = {key: one for key, one in before.errors().items() if key not in loaded.members}

    def errors(self) -> Mapping[SeriesKey, LiveErrors]:
        """By series: a copy."""
        with self._lock:
            return dict(self._errors)

    def serves(self, key: SeriesKey, step: timedelta, *, gated: bool = True) -> ServedModel | None:
        """The shared model with what it knows of this series; None where it may not act for it.

        gated: as in Tiers.serving.
        """
        model, gate = self.loaded.lightgbm, self.gate(key)
        if model is None or not (gate.passed or not gated) or not _same(self.loaded.manifest, step):
            return None
        with self._lock:
            if key not in self._errors:
                self._errors[key] = self._begun(key)
            return ServedModel(model, self._errors[key], gate.by_horizon if gated else ())

    def gate(self, key: SeriesKey) -> GateRecord:
        """A series that it was judged on has a verdict of its own, any other that over all of them."""
        member = self.loaded.members.get(key)
        return self.loaded.manifest.gate if member is None else member.gate

    def _begun(self, key: SeriesKey) -> LiveErrors:
        """Errors on the series itself where the training judged it, otherwise such as all of them have."""
        horizons = np.array(self.loaded.manifest.residual_horizons, dtype=np.int64)
        member, pooled = self.loaded.members.get(key), self.loaded.residuals
        if member is not None:
            return LiveErrors(horizons, member.residuals.astype(np.float64))
        return LiveErrors(horizons, pooled if pooled is not None else nothing_known(horizons))


def _same(manifest: Manifest, step: timedelta) -> bool:
    return manifest.resolution_seconds == step.total_seconds()
