"""The own models that are in memory: at most so many, those that are used stay."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from predictive_scaling.clock import monotonic
from predictive_scaling.models.loading import Loaded
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.serving.served_models import ServedModel, served

IDLE_SECONDS = 600.0
"""A model that nobody asked for this long gives its place to one that is asked for."""


@dataclass(slots=True)
class _CachedModel:
    version: str
    served: ServedModel
    used_at: float


class ModelCache:
    """Models in memory by series. Safe to call from several threads.

    All are asked for at every refresh, so the last used are not the most wanted: whoever is in stays while it is used,
    and the rest are served by the shared model until a place is free.
    """

    def __init__(self, room: int, seconds: Callable[[], float] = monotonic) -> None:
        self._room = room
        self._seconds = seconds
        self._lock = threading.Lock()
        self._models: dict[SeriesKey, _CachedModel] = {}

    def __len__(self) -> int:
        return len(self._models)

    def put(self, key: SeriesKey, load: Callable[[], Loaded]) -> None:
        """Take in a new version where there is a place, or where an older one of it was in memory."""
        with self._lock:
            before = self._models.pop(key, None)
            if len(self._models) >= self._room:
                return
        loaded = load()
        found = served(loaded)
        if found is not None:
            # Nobody asked for it yet: it is the first to leave.
            used_at = before.used_at if before else self._seconds() - IDLE_SECONDS
            with self._lock:
                self._models[key] = _CachedModel(loaded.manifest.version, found, used_at)

    def keep(self, keys: Collection[SeriesKey]) -> None:
        """Forget all others."""
        with self._lock:
            self._models = {key: one for key, one in self._models.items() if key in keys}

    def get(self, key: SeriesKey, version: str, load: Callable[[], Loaded | None]) -> ServedModel | None:
        """The model, read again where there is a place for it; None where there is not, or where it cannot be read."""
        now = self._seconds()
        with self._lock:
            found = self._models.get(key)
            if found is not None and found.version == version:
                found.used_at = now
                return found.served
            if found is None and not self._make_room(now):
                return None
        loaded = load()
        again = served(loaded) if loaded is not None else None
        if again is not None:
            with self._lock:
                self._models[key] = _CachedModel(version, again, now)
        return again

    def _make_room(self, now: float) -> bool:
        if len(self._models) < self._room:
            return True
        key, oldest = min(self._models.items(), key=lambda one: one[1].used_at, default=(None, None))
        if key is None or oldest is None or now - oldest.used_at < IDLE_SECONDS:
            return False
        del self._models[key]
        return True
