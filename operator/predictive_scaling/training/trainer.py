"""Train the models of one series: read its history, learn, judge, publish."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import structlog

from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.errors import NothingToLearnError
from predictive_scaling.training.history import DemandHistory
from predictive_scaling.training.learners import InThread, Learner
from predictive_scaling.training.manifest import GateRecord
from predictive_scaling.training.publish import publish
from predictive_scaling.training.registry import Registry
from predictive_scaling.training.series_keys import SeriesKey

log = structlog.get_logger(__name__)
RESOLUTION = timedelta(minutes=5)
_LEAST_BINS = 2


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that ended with a published version. bins: observed. seconds: of real time, reading left out."""

    key: SeriesKey
    version: str
    gate: GateRecord
    bins: int
    seconds: float


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
        learner: Learner | None = None,
    ) -> None:
        self._history = history
        self._registry = registry
        self._clock = clock
        self._model = model
        self._span = span
        self._resolution = resolution
        self._learner = learner or InThread()

    async def train(self, key: SeriesKey) -> Trained:
        """Publish a new version for a series. Raises NothingToLearnError where it has no demand in the span."""
        now = self._clock.now()
        series = await self._history.demand(key, now - self._span, now, self._resolution)
        bins = int(np.isfinite(series.values).sum())
        if bins < _LEAST_BINS:
            raise NothingToLearnError(
                f"{key} has {bins} bins of demand in the {self._span.days} days before {now:%Y-%m-%dT%H:%M}Z; "
                "check its service, metric and aggregation, or wait until samples have come"
            )
        began = monotonic()
        learned = await self._learner.learn(series, self._model)
        event_types = await self._history.event_types(key, now - self._span, now)
        manifest = await asyncio.to_thread(publish, self._registry, key, learned, now, event_types)
        trained = Trained(key, manifest.version, manifest.gate, bins, monotonic() - began)
        log.info("model_trained", series=str(key), version=trained.version, acting=trained.gate.acting, bins=bins)
        return trained
