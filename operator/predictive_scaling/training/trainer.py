"""Train the models of one series: read its history, learn, judge, publish."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import structlog

from forecasting.cleaning.outliers import outliers_in_words, without_outliers
from forecasting.forecaster import TooShortError
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.shared import SharedLightGBM
from forecasting.series import Series
from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import NothingToLearnError
from predictive_scaling.models.manifest import GateRecord, Manifest
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.series_key import SHARED, SeriesKey
from predictive_scaling.training.backends import LocalBackend, TrainingBackend
from predictive_scaling.training.demand_history import DemandHistory
from predictive_scaling.training.incumbent import incumbent
from predictive_scaling.training.shared_learning import learn_shared

log = structlog.get_logger(__name__)
RESOLUTION = timedelta(minutes=5)
MAX_MEMBERS = 500
"""Series that the shared model learns from and is judged on, drawn evenly where there are more."""
_MIN_BINS = 2
_SEED = 17


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended with a version. bins: observed. seconds: of real time, reading left out.

    in_use: the version in use afterwards; another than `version` where that did worse than the one before.
    """

    key: SeriesKey
    version: str
    gate: GateRecord
    bins: int
    seconds: float
    in_use: str | None

    @property
    def published(self) -> bool:
        """Whether the version came into use; a refused one is only recorded in the history."""
        return self.in_use == self.version


class Trainer:
    """Trains series, each whenever it is asked to; where they are learned is the learner's business."""

    def __init__(
        self,
        history: DemandHistory,
        registry: Registry,
        clock: Clock,
        model: LightGBMQuantiles,
        span: timedelta,
        resolution: timedelta = RESOLUTION,
        learner: TrainingBackend | None = None,
    ) -> None:
        self._history = history
        self._registry = registry
        self._clock = clock
        self._model = model
        self._span = span
        self._resolution = resolution
        self._learner = learner or LocalBackend()

    async def train(self, key: SeriesKey) -> Trained:
        """Publish a new version for a series. Raises NothingToLearnError where it has no demand in the span."""
        now = self._clock.now()
        series = await self._read(key, now)
        bins = int(np.isfinite(series.values).sum())
        if bins < _MIN_BINS:
            raise NothingToLearnError(
                f"{key} has {bins} bins of demand in the {self._span.days} days before {now:%Y-%m-%dT%H:%M}Z; "
                "check its service, metric and aggregation, or wait until samples have come"
            )
        began = monotonic()
        before = await asyncio.to_thread(incumbent, self._registry, key, self._resolution.total_seconds())
        learned = await self._learner.learn(series, self._model, before)
        event_types = await self._history.event_types(key, now - self._span, now)
        manifest = await asyncio.to_thread(publish, self._registry, key, learned, now, event_types)
        return self._trained(key, manifest, bins, began)

    async def train_shared(self, keys: Sequence[SeriesKey]) -> Trained:
        """Publish a new version of the model that all share, learned from these series, or from some if they are many.

        Raises NothingToLearnError where none of them has enough demand in the span.
        """
        now = self._clock.now()
        chosen = sorted(random.Random(_SEED).sample(sorted(keys), min(len(keys), MAX_MEMBERS)))
        series = {key: await self._read(key, now) for key in chosen}
        known = {key: one for key, one in series.items() if np.isfinite(one.values).sum() >= _MIN_BINS}
        began = monotonic()
        try:
            found = await asyncio.to_thread(learn_shared, known, _shared(self._model))
        except TooShortError as error:
            raise NothingToLearnError(f"{SHARED}: {error}; wait until samples have come") from None
        publishing = publish, self._registry, SHARED, found.learned, now, (), found.judged
        manifest = await asyncio.to_thread(*publishing)
        return self._trained(SHARED, manifest, manifest.bins, began)

    def _trained(self, key: SeriesKey, manifest: Manifest, bins: int, began: float) -> Trained:
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
            log.warning("outliers_set_aside", series=str(key), found=outliers_in_words(series.outliers))
        return series


def _shared(own: LightGBMQuantiles) -> SharedLightGBM:
    """Settings of its own, but for how much of the machine it may use and how many features."""
    usual = SharedLightGBM()
    return replace(usual, model=replace(usual.model, threads=own.threads, feature_count=own.feature_count))
