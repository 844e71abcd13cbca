"""Trained models in memory, reloaded without a restart, and one batch of forecasts for all policies."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from forecasting.events import Effects
from forecasting.forecast import Forecast
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.loading import (
    TIMEOUT_SECONDS,
    Checked,
    Loaded,
    check,
    effects_of,
    holt_winters_of,
    load,
    probe,
)
from predictive_scaling.models.manifest import Manifest
from predictive_scaling.models.promotion_history import Outcome, entries, rollback_entry
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SHARED, SeriesKey
from predictive_scaling.serving.batch import Batch, ForecastRequest, Name
from predictive_scaling.serving.model_cache import ModelCache
from predictive_scaling.serving.served_models import KnownModel, SharedTier
from predictive_scaling.serving.tiers import Tiers

log = structlog.get_logger(__name__)

MAX_IN_MEMORY = 1000
_BATCH_SIZE = 50

__all__ = ["ForecastRequest", "ModelStore", "Rejected", "ReloadReport", "Reloaded"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that was refused. file: relative to the models folder."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A model that is in use from now on. verdict: the gate's evidence in words. passed: whether LightGBM acts.

    rolled_back_at: the time at which a person rolled back to it; None for a newly trained model.
    """

    key: SeriesKey
    version: str
    passed: bool
    verdict: str
    rolled_back_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """The changes of a refresh; both empty when nothing changed."""

    reloaded: tuple[Reloaded, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class ModelStore:
    """The models in use, by series. Safe to call from several threads; a refresh never disturbs a forecast.

    in_memory: the maximum of LightGBM models of single series in memory; the shared model serves the other series.
    """

    def __init__(self, folder: Path, timeout_seconds: float = TIMEOUT_SECONDS, in_memory: int = MAX_IN_MEMORY) -> None:
        self._registry = Registry(folder)
        self._timeout_seconds = timeout_seconds
        self._pointers: dict[str, tuple[int, int]] = {}
        self._known: dict[SeriesKey, KnownModel] = {}
        self._cache = ModelCache(in_memory)
        self._shared: SharedTier | None = None
        self._rolled_back: dict[SeriesKey, datetime] = {}
        self._refreshing = threading.Lock()

    async def refresh(self) -> ReloadReport:
        """Load what was published since the last call; cheap when nothing was.

        A refused model is reported once; the last good model, or an older good version, stays in use.
        """
        return await asyncio.to_thread(self._refresh)

    def models(self) -> dict[SeriesKey, Manifest]:
        """Return the manifests of the models in use, the shared model included: a copy."""
        shared = self._shared
        manifests = {key: known.manifest for key, known in self._known.items()}
        return manifests if shared is None else {**manifests, SHARED: shared.loaded.manifest}

    def rolled_back(self) -> dict[SeriesKey, datetime]:
        """Return the series whose model a person rolled back, and the time of the rollback: a copy."""
        return dict(self._rolled_back)

    def effects(self, key: SeriesKey) -> Effects | None:
        """Return the learned effects of the events of a series; None where there are none."""
        known = self._known.get(key)
        return known.effects if known else None

    def forecast(self, requests: Mapping[Name, ForecastRequest]) -> dict[Name, Forecast]:
        """Return one forecast for each name, all in one batch. CPU-bound: call it in a thread.

        No series raises an error: short, flat and gappy ones get the best naive forecast. A series without any
        observation is left out of the result: no data is not zero demand.
        """
        return Batch(Tiers(self._known, self._cache, self._shared, self._reload_version)).forecast(requests)

    def _refresh(self) -> ReloadReport:
        with self._refreshing:
            pointers = self._registry.pointers()
            changed = [slug for slug, pointer in pointers.items() if self._pointers.get(slug) != pointer]
            gone = self._pointers.keys() - pointers.keys()
            if not changed and not gone:
                return ReloadReport()
            kept = {key: known for key, known in self._known.items() if key.slug not in gone}
            reloaded: list[Reloaded] = []
            rejected: list[Rejected] = []
            for at in range(0, len(changed), _BATCH_SIZE):
                # In batches: the files of thousands of models do not fit into memory at once.
                admitted, refused = self._admit(changed[at : at + _BATCH_SIZE])
                rejected += refused
                reloaded += [self._reloaded(checked.manifest) for checked in admitted]
                kept |= self._load_models(admitted)
            self._cache.keep(kept.keys())
            # One assignment: a running forecast keeps the models that it started with.
            self._known = kept
            if SHARED.slug in gone:
                self._shared = None
            self._pointers = pointers
            self._record_rollbacks(reloaded)
            return ReloadReport(tuple(reloaded), (*rejected, *self._refused(changed)))

    def _load_models(self, admitted: Sequence[Checked]) -> dict[SeriesKey, KnownModel]:
        known: dict[SeriesKey, KnownModel] = {}
        for checked in admitted:
            manifest = checked.manifest
            if manifest.key == SHARED:
                self._shared = SharedTier(load(checked), self._shared)
                continue
            known[manifest.key] = KnownModel(manifest, holt_winters_of(manifest), effects_of(checked))
            self._cache.put(manifest.key, lambda checked=checked: load(checked))
        return known

    def _record_rollbacks(self, reloaded: Sequence[Reloaded]) -> None:
        rolled_back = {key: at for key, at in self._rolled_back.items() if key in self.models()}
        for model in reloaded:
            rolled_back.pop(model.key, None)
            if model.rolled_back_at is not None:
                rolled_back[model.key] = model.rolled_back_at
        self._rolled_back = rolled_back

    def _refused(self, slugs: Sequence[str]) -> list[Rejected]:
        """Newly trained versions that did not replace the version in use: the trainer wrote its pointer again."""
        refused: list[Rejected] = []
        versions = {key.slug: manifest.version for key, manifest in self.models().items()}
        for slug in slugs:
            newest = next(reversed(entries(self._registry.folder / slug)), None)
            if newest is None or newest.outcome is not Outcome.REJECTED or newest.previous != versions.get(slug):
                continue
            # An accepted version has a folder; a person may have rolled it back.
            if newest.version not in self._registry.versions(slug):
                refused.append(Rejected(f"{slug}/{newest.version}", newest.evidence))
        return refused

    def _reload_version(self, manifest: Manifest) -> Loaded | None:
        """Load a version that was admitted before; None where its files changed."""
        try:
            checked = check(self._registry.path(manifest.key.slug, manifest.version))
            return load(checked) if checked.manifest == manifest else None
        except (ModelRejectedError, ValueError, KeyError) as error:
            log.warning("model_reload_failed", series=str(manifest.key), reason=str(error))
            return None

    def _admit(self, slugs: Sequence[str]) -> tuple[list[Checked], list[Rejected]]:
        """Check the versions of each series, the current one first, until one is good or is the version in use."""
        admitted: list[Checked] = []
        rejected: list[Rejected] = []
        candidates = {slug: self._candidates(slug) for slug in slugs}
        while candidates:
            checked: dict[str, Checked] = {}
            for slug, versions in list(candidates.items()):
                if not versions:
                    del candidates[slug]
                    continue
                try:
                    checked[slug] = check(self._registry.path(slug, versions.pop(0)))
                except ModelRejectedError as error:
                    rejected.append(Rejected(slug, str(error)))
            folders = [version.folder for version in checked.values() if version.manifest.files]
            failures = probe(folders, self._timeout_seconds)
            for slug, version in checked.items():
                try:
                    _require_usable(version, failures)
                except ModelRejectedError as error:
                    rejected.append(Rejected(f"{slug}/{version.folder.name}", str(error)))
                else:
                    admitted.append(version)
                    del candidates[slug]
        return admitted, rejected

    def _candidates(self, slug: str) -> list[str]:
        versions = self._registry.candidates(slug)
        in_use = [manifest.version for key, manifest in self.models().items() if key.slug == slug]
        return versions[: versions.index(in_use[0])] if in_use and in_use[0] in versions else versions

    def _reloaded(self, manifest: Manifest) -> Reloaded:
        rollback = rollback_entry(self._registry.folder / manifest.key.slug, manifest.version)
        verdict = rollback.evidence if rollback else manifest.gate.evidence
        at = rollback.at if rollback else None
        return Reloaded(manifest.key, manifest.version, manifest.gate.passed, verdict, at)


def _require_usable(version: Checked, failures: Mapping[Path, str]) -> None:
    """Raise ModelRejectedError where the version failed its probe or cannot be loaded."""
    if version.folder in failures:
        raise ModelRejectedError(
            f"{version.folder} failed its probe: {failures[version.folder]}; train the model again"
        )
    try:
        load(version)
    except (ValueError, KeyError) as error:
        raise ModelRejectedError(f"{version.folder} cannot be loaded: {error}; train the model again") from None
