"""The models of single series that are in memory: a limited number, of which the used ones stay."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from predictive_scaling.clock import monotonic
from predictive_scaling.models.loading import Loaded
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.served_models import ServedModel, served

IDLE_SECONDS = 600.0
"""A model that was not used for this long can be replaced by one that is needed."""


@dataclass(slots=True)
class _CachedModel:
    version: str
    served: ServedModel
    used_at: float


class ModelCache:
    """Models in memory by series. Safe to call from several threads.

    Every refresh uses all series, so that an LRU cache would evict each model before its next use. Therefore a model in
    memory stays while it is used, and the shared model serves the others until there is capacity. capacity: models.
    """

    def __init__(self, capacity: int, seconds: Callable[[], float] = monotonic) -> None:
        self._capacity = capacity
        self._seconds = seconds
        self._lock = threading.Lock()
        self._models: dict[SeriesKey, _CachedModel] = {}

    def __len__(self) -> int:
        return len(self._models)

    def put(self, key: SeriesKey, load: Callable[[], Loaded]) -> None:
        """Load a new version where there is capacity, or where an older version of the series was in memory."""
        with self._lock:
            previous = self._models.pop(key, None)
            if len(self._models) >= self._capacity:
                return
        loaded = load()
        model = served(loaded)
        if model is not None:
            # A new model was never used: it is the first to be replaced.
            used_at = previous.used_at if previous else self._seconds() - IDLE_SECONDS
            with self._lock:
                self._models[key] = _CachedModel(loaded.manifest.version, model, used_at)

    def keep(self, keys: Collection[SeriesKey]) -> None:
        """Remove the models of all other series."""
        with self._lock:
            self._models = {key: cached for key, cached in self._models.items() if key in keys}

    def get(self, key: SeriesKey, version: str, load: Callable[[], Loaded | None]) -> ServedModel | None:
        """Return the model, loaded again where there is capacity; None without capacity or where loading fails."""
        now = self._seconds()
        with self._lock:
            cached = self._models.get(key)
            if cached is not None and cached.version == version:
                cached.used_at = now
                return cached.served
            if cached is None and not self._free_place(now):
                return None
        loaded = load()
        model = served(loaded) if loaded is not None else None
        if model is not None:
            with self._lock:
                self._models[key] = _CachedModel(version, model, now)
        return model

    def _free_place(self, now: float) -> bool:
        """Whether a place is free, after the removal of an idle model from a full cache."""
        if len(self._models) < self._capacity:
            return True
        key, oldest = min(self._models.items(), key=lambda entry: entry[1].used_at, default=(None, None))
        if key is None or oldest is None or now - oldest.used_at < IDLE_SECONDS:
            return False
        del self._models[key]
        return True
