"""The models that serve series: a model of one series, and the shared model of many."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from forecasting.events import Effects
from forecasting.models.holt_winters import FittedHoltWinters
from forecasting.models.lightgbm_quantiles import FittedLightGBM
from forecasting.series import Series
from predictive_scaling.models.loading import Loaded
from predictive_scaling.models.manifest import ActingRecord, GateRecord, Manifest
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.live_errors import LiveErrors, no_errors


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that acts for a series. errors: its errors on the series. by_horizon: horizons at which another acts."""

    model: FittedLightGBM
    errors: LiveErrors
    by_horizon: tuple[ActingRecord, ...]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """The models of a series except its LightGBM, which may not be in memory.

    effects: of known events; they are learned whether LightGBM acts or not.
    """

    manifest: Manifest
    holt_winters: FittedHoltWinters
    effects: Effects | None = None

    def can_forecast(self, series: Series) -> bool:
        """Whether there is a LightGBM that learned at the step and calendar of the series."""
        manifest = self.manifest
        return (
            bool(manifest.files) and _has_step(manifest, series.step) and manifest.calendar == series.context.calendar
        )


def served(loaded: Loaded) -> ServedModel | None:
    """Return the LightGBM of one series, ready to serve; None where there is none."""
    if loaded.lightgbm is None:
        return None
    horizons = np.array(loaded.manifest.residual_horizons, dtype=np.int64)
    residuals = loaded.residuals if loaded.residuals is not None else no_errors(horizons)
    return ServedModel(loaded.lightgbm, LiveErrors(horizons, residuals), loaded.manifest.gate.by_horizon)


class SharedTier:
    """The shared model in use, and its errors on each series that it serves: about 60 kB for each series."""

    def __init__(self, loaded: Loaded, previous: "SharedTier | None" = None) -> None:
        """Start with the errors of the `previous` tier on series that the training of this model did not judge."""
        self.loaded = loaded
        self._lock = threading.Lock()
        self._errors: dict[SeriesKey, LiveErrors] = {}
        if previous is not None and previous.loaded.manifest.residual_horizons == loaded.manifest.residual_horizons:
            self._errors = {key: errors for key, errors in previous.errors().items() if key not in loaded.members}

    def errors(self) -> Mapping[SeriesKey, LiveErrors]:
        """Return the errors by series: a copy."""
        with self._lock:
            return dict(self._errors)

    def serves(self, key: SeriesKey, step: timedelta, *, gated: bool = True) -> ServedModel | None:
        """Return the shared model with its errors on this series; None where it may not act for it.

        gated: as in Tiers.serving.
        """
        model, gate = self.loaded.lightgbm, self.gate(key)
        if model is None or not (gate.passed or not gated) or not _has_step(self.loaded.manifest, step):
            return None
        with self._lock:
            if key not in self._errors:
                self._errors[key] = self._initial_errors(key)
            return ServedModel(model, self._errors[key], gate.by_horizon if gated else ())

    def gate(self, key: SeriesKey) -> GateRecord:
        """Return the verdict on this series, or the verdict over all series where it was not judged on this one."""
        member = self.loaded.members.get(key)
        return self.loaded.manifest.gate if member is None else member.gate

    def _initial_errors(self, key: SeriesKey) -> LiveErrors:
        """The errors on the series itself where the training judged it, otherwise those of all series."""
        horizons = np.array(self.loaded.manifest.residual_horizons, dtype=np.int64)
        member, pooled = self.loaded.members.get(key), self.loaded.residuals
        if member is not None:
            return LiveErrors(horizons, member.residuals.astype(np.float64))
        return LiveErrors(horizons, pooled if pooled is not None else no_errors(horizons))


def _has_step(manifest: Manifest, step: timedelta) -> bool:
    return manifest.resolution_seconds == step.total_seconds()
