"""Gauge of stuck decisions, read from the database at each scrape.

The operator cannot provide it: a decision is stuck when no operator carries it out.
"""

import asyncio
import math

import structlog
from prometheus_client import Gauge

from predictive_scaling.api.services import Services
from predictive_scaling.errors import DatabaseUnavailableError

log = structlog.get_logger(__name__)

STUCK = Gauge("predictive_scaling_decisions_stuck", "Unfinished decisions whose deadline has passed.")

_TIMEOUT_SECONDS = 2.0


async def refresh_stuck_decisions(services: Services) -> None:
    """Set the gauge; NaN when the database is unreachable, as an old number looks current."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            STUCK.set(await services.decisions.count_stuck(services.clock.now()))
    except (DatabaseUnavailableError, TimeoutError) as error:
        log.warning("stuck_decisions_not_refreshed", error=str(error) or type(error).__name__)
        STUCK.set(math.nan)
