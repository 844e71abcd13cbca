"""`prediction_mape` and its siblings, over the last day of scores in the database, read at each scrape."""

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
    "predictive_scaling_prediction_coverage_ratio", "Share of target times at or below p90; 0.9 is right.", _LABELS
)

_WINDOW = timedelta(hours=24)
_LIMIT_SECONDS = 2.0


async def refresh_accuracy(services: Services) -> None:
    """Show the scores of the last day. A database that is away leaves none: old scores would look like new ones."""
    now = services.clock.now()
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
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
