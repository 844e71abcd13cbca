"""Gauges of forecast accuracy over the last day, read from the database at each scrape."""

import asyncio
import math
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from predictive_scaling.api.services import Services
from predictive_scaling.errors import DatabaseUnavailableError

log = structlog.get_logger(__name__)

_LABELS = ["service_name", "model_name"]
MAPE = Gauge("prediction_mape", "Mean absolute percentage error of forecasts as a ratio (0.2 is 20 %).", _LABELS)
WAPE = Gauge("predictive_scaling_prediction_wape_ratio", "Sum of absolute errors over the sum of actuals.", _LABELS)
COVERAGE = Gauge(
    "predictive_scaling_prediction_coverage_ratio",
    "Share of target times with demand at or below p90; the ideal is 0.9.",
    _LABELS,
)

_WINDOW = timedelta(hours=24)
_TIMEOUT_SECONDS = 2.0


async def refresh_accuracy(services: Services) -> None:
    """Set the gauges to the last day; clear them when the database is unreachable, as old scores look current."""
    now = services.clock.now()
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            rows = await services.performances.by_service(now - _WINDOW, now)
    except (DatabaseUnavailableError, TimeoutError) as error:
        log.warning("accuracy_not_refreshed", error=str(error) or type(error).__name__)
        rows = []
    for gauge in (MAPE, WAPE, COVERAGE):
        gauge.clear()
    for row in rows:
        for gauge, value in ((MAPE, row.sums.mape), (WAPE, row.sums.wape), (COVERAGE, row.sums.coverage["0.9"])):
            if value is not None and math.isfinite(value):
                gauge.labels(row.service_name, row.model_name).set(value)
