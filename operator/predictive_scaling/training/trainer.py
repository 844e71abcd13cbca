"""Train the models of a series: read its history, train, judge, publish."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import structlog

from forecasting.cleaning.outliers import describe_outliers, without_outliers
from forecasting.forecaster import TooShortError
from forecasting.learning import Incumbent
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.shared import SharedLightGBM
from forecasting.series import Series
from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import ModelRejectedError, NothingToLearnError
from predictive_scaling.models.loading import check, load, probe
from predictive_scaling.models.manifest import GateRecord, Manifest
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SHARED, SeriesKey
from predictive_scaling.training.backends import LocalBackend, TrainingBackend
from predictive_scaling.training.demand_history import DemandHistory
from predictive_scaling.training.shared_learning import learn_shared

log = structlog.get_logger(__name__)
RESOLUTION = timedelta(minutes=5)
MAX_MEMBERS = 500
"""Maximum number of series for the shared model; of more series a uniform random sample is taken."""
_MIN_BINS = 2
_SEED = 17


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended with a version.

    bins: observed bins. seconds: elapsed time without reading the history. in_use: the version in use afterwards; it
    differs from `version` if that is worse than the previous version.
    """

    key: SeriesKey
    version: str
    gate: GateRecord
    bins: int
    seconds: float
    in_use: str | None

    @property
    def published(self) -> bool:
        """Whether the version is in use; a refused version is only recorded in the history."""
        return self.in_use == self.version


class Trainer:
    """Trains series on request; the backend determines where the training runs."""

    def __init__(
        self,
        history: DemandHistory,
        registry: Registry,
        clock: Clock,
        model: LightGBMQuantiles,
        span: timedelta,
        resolution: timedelta = RESOLUTION,
        backend: TrainingBackend | None = None,
    ) -> None:
        self._history = history
        self._registry = registry
        self._clock = clock
        self._model = model
        self._span = span
        self._resolution = resolution
        self._backend = backend or LocalBackend()

    async def train(self, key: SeriesKey) -> Trained:
        """Train a series and publish the version. Raises NothingToLearnError if it has no demand in the span."""
        now = self._clock.now()
        series = await self._read(key, now)
        bins = int(np.isfinite(series.values).sum())
        if bins < _MIN_BINS:
            raise NothingToLearnError(
                f"{key} has {bins} bins of demand in the {self._span.days} days before {now:%Y-%m-%dT%H:%M}Z; "
                "check its service, metric and aggregation, or wait for more samples"
            )
        began = monotonic()
        incumbent = await asyncio.to_thread(load_incumbent, self._registry, key, self._resolution.total_seconds())
        learned = await self._backend.learn(series, self._model, incumbent)
        event_types = await self._history.event_types(key, now - self._span, now)
        manifest = await asyncio.to_thread(publish, self._registry, key, learned, now, event_types)
        return self._finish(key, manifest, bins, began)

    async def train_shared(self, keys: Sequence[SeriesKey]) -> Trained:
        """Train the shared model on these series, or on a sample of at most MAX_MEMBERS, and publish the version.

        Raises NothingToLearnError if no series has enough demand in the span.
        """
        now = self._clock.now()
        members = sorted(random.Random(_SEED).sample(sorted(keys), min(len(keys), MAX_MEMBERS)))
        histories = {key: await self._read(key, now) for key in members}
        usable = {key: series for key, series in histories.items() if np.isfinite(series.values).sum() >= _MIN_BINS}
        began = monotonic()
        try:
            shared = await asyncio.to_thread(learn_shared, usable, _shared_settings(self._model))
        except TooShortError as error:
            raise NothingToLearnError(f"{SHARED}: {error}; wait for more samples") from None
        manifest = await asyncio.to_thread(publish, self._registry, SHARED, shared.learned, now, (), shared.judged)
        return self._finish(SHARED, manifest, manifest.bins, began)

    def _finish(self, key: SeriesKey, manifest: Manifest, bins: int, began: float) -> Trained:
        """Log and return a training whose version was published or refused."""
        in_use = self._registry.current(key.slug)
        trained = Trained(key, manifest.version, manifest.gate, bins, monotonic() - began, in_use)
        event = "model_trained" if trained.published else "model_refused"
        log.info(
            event,
            series=str(key),
            version=trained.version,
            in_use=in_use,
            acting=trained.gate.acting,
            bins=trained.bins,
        )
        return trained

    async def _read(self, key: SeriesKey, now: datetime) -> Series:
        series = without_outliers(await self._history.demand(key, now - self._span, now, self._resolution))
        if series.outliers:
            log.warning("outliers_set_aside", series=str(key), outliers=describe_outliers(series.outliers))
        return series


def load_incumbent(registry: Registry, key: SeriesKey, resolution_seconds: float) -> Incumbent | None:
    """Return the model in use, against which the new version is compared.

    None if LightGBM does not act in it, if its resolution differs, or if it cannot be used.
    """
    version = registry.current(key.slug)
    if version is None:
        return None
    folder = registry.path(key.slug, version)
    try:
        checked = check(folder)
        problem = probe([folder]).get(folder, "")
        model = None if problem else load(checked).lightgbm
    except (ModelRejectedError, ValueError, KeyError) as error:
        checked, model, problem = None, None, str(error)
    if checked is None or model is None:
        log.info("incumbent_not_compared", series=str(key), version=version, reason=problem or "it has no LightGBM")
        return None
    manifest = checked.manifest
    is_comparable = manifest.gate.passed and manifest.resolution_seconds == resolution_seconds
    return Incumbent(model, manifest.trained_until) if is_comparable else None


def _shared_settings(own: LightGBMQuantiles) -> SharedLightGBM:
    """Return the default settings of the shared model, with the threads and feature count of the own models."""
    defaults = SharedLightGBM()
    return replace(defaults, model=replace(defaults.model, threads=own.threads, feature_count=own.feature_count))
