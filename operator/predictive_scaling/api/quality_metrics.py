"""Gauges of the demand that policies read: its quality over the last day, and the age of the newest sample.

Judging a day of every series takes seconds with thousands of policies, so it is repeated in the background and not for
each scrape. The age is read at each scrape; `ingest` cannot provide it, because it is of interest when none runs.
"""

import asyncio
import math
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from predictive_scaling.api.services import Services
from predictive_scaling.errors import DatabaseUnavailableError
from predictive_scaling.periodic_task import PeriodicTask
from predictive_scaling.storage.data_quality import SeriesQuality

log = structlog.get_logger(__name__)

AGE = Gauge(
    "predictive_scaling_demand_age_seconds",
    "Age of the newest sample of all series that policies name, at most a day.",
)
_LABELS = ["service_name", "metric_name"]
MISSING = Gauge(
    "predictive_scaling_demand_missing_ratio",
    "Share of minutes without demand in 24 h, beyond the usual distance of samples.",
    _LABELS,
)
LATE = Gauge(
    "predictive_scaling_demand_late_ratio",
    "Share of samples in 24 h that were stored more than five minutes after their time.",
    _LABELS,
)
MIN_DELAY = Gauge(
    "predictive_scaling_demand_min_delay_seconds",
    "Least time in 24 h from a sample to its storage; negative: the clock of a sender is ahead by that much.",
    _LABELS,
)
RESETS = Gauge(
    "predictive_scaling_demand_counter_resets",
    "Restarts of the counters in 24 h, which their rates bridge.",
    _LABELS,
)
OUTLIERS = Gauge("predictive_scaling_demand_outliers", "Minutes in 24 h that are set aside as outliers.", _LABELS)
_GAUGES = (MISSING, LATE, MIN_DELAY, RESETS, OUTLIERS)

WINDOW = timedelta(hours=24)
INTERVAL_SECONDS = 300.0
_PAGE = 100
_TIMEOUT_SECONDS = 2.0


def quality_task(services: Services) -> PeriodicTask:
    """Return the task that sets the gauges every INTERVAL_SECONDS."""
    return PeriodicTask(
        "data_quality", lambda: refresh_quality(services), INTERVAL_SECONDS, on_standby=True, max_pause_seconds=60.0
    )


async def refresh_demand_age(services: Services) -> None:
    """Set the age; NaN without policies, and when the database is unreachable, as an old age looks current."""
    now = services.clock.now()
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            newest = await services.data_quality.newest_sample(now - WINDOW)
    except (DatabaseUnavailableError, TimeoutError) as error:
        log.warning("demand_age_not_refreshed", error=str(error) or type(error).__name__)
        newest = None
    AGE.set(math.nan if newest is None else (now - newest).total_seconds())


async def refresh_quality(services: Services) -> None:
    """Set the gauges for every series that a policy names.

    They are cleared when the database is unreachable, as old values look current. Raises DatabaseUnavailableError.
    """
    now, rows = services.clock.now(), list[SeriesQuality]()
    try:
        after = ("", "")
        while page := await services.data_quality.of_policies(now, WINDOW, after=after, limit=_PAGE):
            rows += page
            after = (page[-1].service_name, page[-1].metric_name)
    finally:
        for gauge in _GAUGES:
            gauge.clear()
    for row in rows:
        _show(row)


def _show(row: SeriesQuality) -> None:
    values = (row.missing_ratio, row.late_ratio, row.min_delay_seconds, row.resets, row.outliers)
    for gauge, value in zip(_GAUGES, values, strict=True):
        if math.isfinite(value):
            gauge.labels(row.service_name, row.metric_name).set(value)
