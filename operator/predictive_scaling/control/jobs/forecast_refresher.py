"""Reads demand and refreshes forecasts in the background, for the tick to use."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from predictive_scaling.clock import Clock, monotonic
from predictive_scaling.control.current_forecasts import ForecastProvider, ForecastRequirement
from predictive_scaling.control.demand_window import DemandWindow
from predictive_scaling.control.policy_states import PolicyStates
from predictive_scaling.control.recording import record_accepted
from predictive_scaling.decision.inputs import ForecastSource
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.forecast_history import Prediction
from predictive_scaling.telemetry.metrics import MAKE, PREDICTION_LATENCY

log = structlog.get_logger(__name__)

_BACKLOG = 20_000
"""Predictions that wait for a database that is away, at most; the newest stay."""


class PredictionTable(Protocol):
    """The part of storage.Predictions that is written here."""

    async def record(self, predictions: Sequence[Prediction]) -> None:
        """Record forecasts; an existing row is not changed."""
        ...


@dataclass(slots=True)
class ForecastRefresher:
    """Reads demand and makes forecasts; while the database is unavailable, what it has only becomes older."""

    window: DemandWindow
    forecasts: ForecastProvider
    states: PolicyStates
    table: PredictionTable
    clock: Clock
    news: Callable[[], None]
    """Called when there are new forecasts."""
    database_problem: str | None = None
    """Why the database could not be read last; None while it can."""
    triggered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the next pass should come at once."""
    _unrecorded: list[Prediction] = field(default_factory=list[Prediction])
    _noted: dict[PolicyKey, tuple[datetime, ForecastSource]] = field(
        default_factory=dict[PolicyKey, tuple[datetime, ForecastSource]]
    )
    """Origin and source of each policy's forecast as last recorded."""

    def trigger(self) -> None:
        """Start the next pass now, for new requirements."""
        self.triggered.set()

    async def run(self) -> None:
        """One pass."""
        now, requirements = self.clock.now(), self.states.requirements()
        await self._read({key for required in requirements for key in required.read}, now)
        due = self.forecasts.due(requirements, now)
        if due:
            began = monotonic()
            forecasts = await self.forecasts.refresh(due, now)
            PREDICTION_LATENCY.labels(MAKE).observe(monotonic() - began)
            if forecasts:
                self.news()
        self.forecasts.forget({required.key for required in requirements}, now)
        self._note(requirements, now)
        await self._record()

    def _note(self, requirements: Sequence[ForecastRequirement], now: datetime) -> None:
        """Queue each policy's forecast in use for recording, where it or its place in the fallback chain changed."""
        for required in requirements:
            try:
                self._unrecorded += self._changed(required, now)
            except Exception:  # a failure of one policy affects no other
                log.exception("forecast_not_recorded", policy=str(required.key))
        for gone in self._noted.keys() - {required.key for required in requirements}:
            del self._noted[gone]

    def _changed(self, required: ForecastRequirement, now: datetime) -> list[Prediction]:
        current_forecast, noted = self.forecasts.current(required, now), self._noted.get(required.key)
        if current_forecast is None:
            return []
        origin, source = current_forecast.forecast.origin, current_forecast.source
        if noted == (origin, source):
            return []
        # The fallback to last week begins at the current minute each time; one record per bin is enough.
        if (
            noted is not None
            and noted[1] is source is ForecastSource.LAST_WEEK
            and abs(origin - noted[0]) < current_forecast.forecast.step
        ):
            return []
        self._noted[required.key] = (origin, source)
        return _rows(required, current_forecast.forecast, source, current_forecast.valid_until)

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
            await record_accepted(self.table.record, rows, "predictions", lambda row: f"{row.namespace}/{row.policy}")
        except DatabaseUnavailableError as error:
            log.info("predictions_wait", rows=len(rows), error=str(error))
            self._unrecorded = (rows + self._unrecorded)[-_BACKLOG:]


def _rows(
    required: ForecastRequirement, forecast: Forecast, source: ForecastSource, valid_until: datetime
) -> list[Prediction]:
    policy = required.policy
    quantiles = {f"p{quantile * 100:g}": forecast.quantiles.index(quantile) for quantile in QUANTILES}
    peaks = {f"peak_p{quantile * 100:g}": column for column, quantile in enumerate(PEAK_QUANTILES)}
    windows = len(forecast.peaks) if forecast.peaks is not None else 0
    return [
        Prediction(
            created_at=forecast.origin,
            service_name=policy.service,
            target_time=forecast.origin + index * forecast.step,
            model_name=forecast.model,
            model_version=forecast.version,
            namespace=policy.metadata.namespace,
            policy=policy.metadata.name,
            source=source.value,
            valid_until=valid_until,
            **{name: float(row[column]) for name, column in quantiles.items()},
            **(
                {name: float(forecast.peaks[index][column]) for name, column in peaks.items()}
                if forecast.peaks is not None and index < windows
                else {}
            ),
        )
        for index, row in enumerate(forecast.values)
    ]
