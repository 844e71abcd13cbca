"""What the tick lives on, brought in beside it: demand from the database, forecasts from the models."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from forecasting.forecast import QUANTILES
from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.forecasts import Made, Outlooks
from predictive_scaling.control.state import States
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.storage.predictions import Prediction
from predictive_scaling.telemetry.metrics import MAKE, PREDICTION_LATENCY
from predictive_scaling.training.series_keys import SeriesKey

log = structlog.get_logger(__name__)

_BACKLOG = 20_000
"""Predictions that wait for a database that is away, at most; the newest stay."""


class PredictionTable(Protocol):
    """The part of storage.Predictions that is written here."""

    async def record(self, predictions: Sequence[Prediction]) -> None:
        """Keep forecasts; one that is there already stays as it is."""
        ...


@dataclass(slots=True)
class Feed:
    """Runs for ever; a database that is away only makes what it brings older."""

    window: DemandWindow
    outlooks: Outlooks
    states: States
    table: PredictionTable
    clock: Clock
    every: timedelta
    news: Callable[[], None]
    """Called when there are new forecasts."""
    database_problem: str | None = None
    """Why the database could not be read last; None while it can."""
    beat_at: float = field(default_factory=monotonic)
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _unrecorded: list[Prediction] = field(default_factory=list[Prediction])

    def hurry(self) -> None:
        """There are needs that were not there before: do not wait for the next pass."""
        self._wanted.set()

    async def run(self) -> None:
        """Pass after pass, one interval apart or when hurried."""
        while True:
            self._wanted.clear()
            try:
                await self.turn()
            except Exception:  # a pass that failed is no reason to stop bringing what can be brought
                log.exception("feed_failed")
            self.beat_at = monotonic()
            try:
                async with asyncio.timeout(max(0.05, self.clock.real_seconds(self.every))):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def turn(self) -> None:
        """One pass."""
        now, needs = self.clock.now(), self.states.needs()
        await self._read({need.series for need in needs}, now)
        due = self.outlooks.due(needs, now)
        if due:
            began = monotonic()
            made = await self.outlooks.refresh(due, now)
            PREDICTION_LATENCY.labels(MAKE).observe(monotonic() - began)
            self._unrecorded += [row for one in made for row in _rows(one)]
            self.outlooks.forget({need.key for need in needs}, now)
            if made:
                self.news()
        await self._record()

    async def _read(self, keys: set[SeriesKey], now: datetime) -> None:
        try:
            await self.window.advance(sorted(keys), now)
        except DatabaseUnavailableError as error:
            if self.database_problem is None:
                log.warning("database_away", error=str(error))
            self.database_problem = str(error)
            return
        if self.database_problem is not None:
            log.info("database_back")
        self.database_problem = None

    async def _record(self) -> None:
        if not self._unrecorded or self.database_problem is not None:
            self._unrecorded = self._unrecorded[-_BACKLOG:]
            return
        rows, self._unrecorded = self._unrecorded, []
        try:
            await self.table.record(rows)
        except DatabaseUnavailableError as error:
            log.info("predictions_wait", rows=len(rows), error=str(error))
            self._unrecorded = (rows + self._unrecorded)[-_BACKLOG:]


def _rows(made: Made) -> list[Prediction]:
    forecast, policy = made.forecast, made.need.policy
    p10, p50, p80, p90, p95 = (forecast.quantiles.index(quantile) for quantile in QUANTILES)
    return [
        Prediction(
            created_at=forecast.origin,
            service_name=policy.service,
            target_time=forecast.origin + index * forecast.step,
            p10=float(row[p10]),
            p50=float(row[p50]),
            p80=float(row[p80]),
            p90=float(row[p90]),
            p95=float(row[p95]),
            model_name=forecast.model,
            model_version=forecast.version,
            namespace=policy.metadata.namespace,
            policy=policy.metadata.name,
            source="fresh",
            valid_until=made.valid_until,
        )
        for index, row in enumerate(forecast.values)
    ]
