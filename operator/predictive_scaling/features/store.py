"""`FeatureStore`: the current features of a service's demand."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

import numpy as np

from predictive_scaling.clock import Clock, parse_clock
from predictive_scaling.features.cache import FeatureCache
from predictive_scaling.settings import read_settings
from predictive_scaling.storage.database import Connections, engine, location
from predictive_scaling.storage.demand import Demand, DemandMinute

LOOK_BACK = timedelta(hours=24)
_MEANS = {"mean_5m": 5, "mean_15m": 15, "mean_1h": 60}


class FeatureStore:
    """Features by service, from Redis if it responds in time, otherwise from the database.

    Without arguments it connects as configured in the environment (DATABASE_URL, REDIS_URL), for interactive use.
    """

    def __init__(
        self, database: Connections | None = None, cache: FeatureCache | None = None, clock: Clock | None = None
    ) -> None:
        self._demand = Demand(database or engine)
        self._cache = cache
        self._clock = clock
        self._from_environment = database is None

    async def get_latest(self, service: str) -> dict[str, Any]:
        """Return the features of a service's demand over the last 24 hours.

        `{"service", "time", "metrics": {name: {"time", "last", "mean_5m", "mean_15m", "mean_1h", "max_1h", "level"}}}`,
        sums over the series of each metric, in its unit; means skip missing minutes, and `level` is the median of the
        last 15. time: RFC 3339 of the newest minute, None without samples.
        Raises DatabaseUnavailableError.
        """
        if not self._from_environment:
            return await self._latest(service, self._cache, self._clock or parse_clock(None))
        settings = read_settings()
        owner = location(settings.database_url.get_secret_value())
        cache = FeatureCache(settings.redis_url.get_secret_value(), owner) if settings.redis_url else None
        try:
            return await self._latest(service, cache, parse_clock(settings.clock))
        finally:
            if cache:
                await cache.close()

    async def _latest(self, service: str, cache: FeatureCache | None, clock: Clock) -> dict[str, Any]:
        if cache and (cached := await cache.get(service)) is not None:
            return cached
        now = clock.now()
        minutes = await self._demand.of_service(service, now - LOOK_BACK, now)
        features = features_of(service, minutes)
        if cache:
            await cache.put(service, features)
        return features


def features_of(service: str, minutes: Sequence[DemandMinute]) -> dict[str, Any]:
    """Return the features of minutes that are ordered by metric and time."""
    metrics = {name: _features(list(group)) for name, group in groupby(minutes, key=lambda minute: minute.metric)}
    newest = max((features["time"] for features in metrics.values()), default=None)
    return {"service": service, "time": newest, "metrics": metrics}


def _features(minutes: Sequence[DemandMinute]) -> dict[str, Any]:
    newest = minutes[-1]

    def last(count: int) -> list[float]:
        first = newest.minute - timedelta(minutes=count - 1)
        return [minute.value for minute in minutes if minute.minute >= first]

    return {
        "time": newest.minute.isoformat(),
        "last": newest.value,
        **{name: float(np.mean(last(count))) for name, count in _MEANS.items()},
        "max_1h": max(last(60)),
        "level": float(np.median(last(15))),
    }
