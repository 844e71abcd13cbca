"""Trained models in memory: reloaded without a restart, and used for all policies in one batch."""

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
from predictive_scaling.models.promotion_history import Outcome, entries, was_rolled_back
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.series_key import SHARED, SeriesKey
from predictive_scaling.serving.batch import Batch, ForecastRequest, Name
from predictive_scaling.serving.model_cache import ModelCache
from predictive_scaling.serving.served_models import KnownModel, SharedTier
from predictive_scaling.serving.tiers import Tiers

log = structlog.get_logger(__name__)

IN_MEMORY = 1000
_BATCH_SIZE = 50

__all__ = ["ForecastRequest", "ModelStore", "Rejected", "ReloadReport", "Reloaded"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A model that may not be used. file: relative to the models folder."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A model that came into use. verdict: what the gate said, in words; passed: whether LightGBM acts.

    turned_back_at: when a person went back to it; None where it is newly trained.
    """

    key: SeriesKey
    version: str
    passed: bool
    verdict: str
    rolled_back_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What a refresh changed; both empty when nothing did."""

    reloaded: tuple[Reloaded, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class ModelStore:
    """The models in use, by series. Safe to call from several threads; a refresh never disturbs a forecast.

    in_memory: how many series' own LightGBM models are kept there; the shared one serves the others.
    """

    def __init__(self, folder: Path, timeout_seconds: float = TIMEOUT_SECONDS, in_memory: int = IN_MEMORY) -> None:
        self._registry = Registry(folder)
        self._timeout_seconds = timeout_seconds
        self._pointers: dict[str, tuple[int, int]] = {}
        self._known: dict[SeriesKey, KnownModel] = {}
        self._cache = ModelCache(in_memory)
        self._shared: SharedTier | None = None
        self._rolled_back: dict[SeriesKey, datetime] = {}
        self._refreshing = threading.Lock()

    async def refresh(self) -> ReloadReport:
        """Take up what was published since the last call; cheap when nothing was.

        A refused model is reported once; the last good one, or an older good version, serves on.
        """
        return await asyncio.to_thread(self._refresh)

    def models(self) -> dict[SeriesKey, Manifest]:
        """What is in use, the shared model among them: a copy."""
        shared = self._shared
        found = {key: known.manifest for key, known in self._known.items()}
        return found if shared is None else {**found, SHARED: shared.loaded.manifest}

    def rolled_back(self) -> dict[SeriesKey, datetime]:
        """The series whose model in use is one that a person went back to, and when: a copy."""
        return dict(self._rolled_back)

    def effects(self, key: SeriesKey) -> Effects | None:
        """What was learned of the events of a series; None where nothing was."""
        known = self._known.get(key)
        return known.effects if known else None

    def forecast(self, wanted: Mapping[Name, ForecastRequest]) -> dict[Name, Forecast]:
        """One forecast for each name, all in one batch. CPU-bound: call it in a thread.

        Never raises for a series, however short, flat or gappy: those get the best naive answer. A series in which
        nothing at all was observed gets none and is left out: no data is not zero demand.
        """
        return Batch(Tiers(self._known, self._cache, self._shared, self._reload_version)).forecast(wanted)

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
                # A few at a time: the files of thousands of models do not fit into memory.
                good, refused = self._admit(changed[at : at + _BATCH_SIZE])
                rejected += refused
                reloaded += [self._reloaded(one.manifest) for one in good]
                kept |= self._load_models(good)
            self._cache.keep(kept.keys())
            # One assignment: a forecast under way keeps the models that it began with.
            self._known = kept
            if SHARED.slug in gone:
                self._shared = None
            self._pointers = pointers
            self._record_rollbacks(reloaded)
            return ReloadReport(tuple(reloaded), (*rejected, *self._refused(changed)))

    def _load_models(self, good: Sequence[Checked]) -> dict[SeriesKey, KnownModel]:
        found: dict[SeriesKey, KnownModel] = {}
        for checked in good:
            manifest = checked.manifest
            if manifest.key == SHARED:
                self._shared = SharedTier(load(checked), self._shared)
                continue
            found[manifest.key] = KnownModel(manifest, holt_winters_of(manifest), effects_of(checked))
            self._cache.put(manifest.key, lambda checked=checked: load(checked))
        return found

    def _record_rollbacks(self, reloaded: Sequence[Reloaded]) -> None:
        others = {key: at for key, at in self._rolled_back.items() if key in self.models()}
        for one in reloaded:
            others.pop(one.key, None)
            if one.rolled_back_at is not None:
                others[one.key] = one.rolled_back_at
        self._rolled_back = others

    def _refused(self, slugs: Sequence[str]) -> list[Rejected]:
        """Newly trained versions that did not replace the one in use: the trainer wrote its pointer anew."""
        found: list[Rejected] = []
        versions = {key.slug: manifest.version for key, manifest in self.models().items()}
        for slug in slugs:
            newest = next(reversed(entries(self._registry.folder / slug)), None)
            if newest is None or newest.outcome is not Outcome.REJECTED or newest.previous != versions.get(slug):
                continue
            # A version that was taken has a folder; by hand somebody may have gone back from it.
            if newest.version not in self._registry.versions(slug):
                found.append(Rejected(f"{slug}/{newest.version}", newest.evidence))
        return found

    def _reload_version(self, manifest: Manifest) -> Loaded | None:
        """A version that was admitted before; None where it is no longer what it was."""
        try:
            checked = check(self._registry.path(manifest.key.slug, manifest.version))
            return load(checked) if checked.manifest == manifest else None
        except (ModelRejectedError, ValueError, KeyError) as error:
            log.warning("model_not_read_again", series=str(manifest.key), reason=str(error))
            return None

    def _admit(self, slugs: Sequence[str]) -> tuple[list[Checked], list[Rejected]]:
        """Try each series' versions, the current one first, until one is good or the one in use is reached."""
        good: list[Checked] = []
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
            failed = probe([one.folder for one in checked.values() if one.manifest.files], self._timeout_seconds)
            for slug, one in checked.items():
                try:
                    _try(one, failed)
                except ModelRejectedError as error:
                    rejected.append(Rejected(f"{slug}/{one.folder.name}", str(error)))
                else:
                    good.append(one)
                    del candidates[slug]
        return good, rejected

    def _candidates(self, slug: str) -> list[str]:
        versions = self._registry.candidates(slug)
        in_use = [manifest.version for key, manifest in self.models().items() if key.slug == slug]
        return versions[: versions.index(in_use[0])] if in_use and in_use[0] in versions else versions

    def _reloaded(self, manifest: Manifest) -> Reloaded:
        back = was_rolled_back(self._registry.folder / manifest.key.slug, manifest.version)
        verdict = back.evidence if back else manifest.gate.evidence
        return Reloaded(manifest.key, manifest.version, manifest.gate.passed, verdict, back.at if back else None)


def _try(one: Checked, failed: Mapping[Path, str]) -> None:
    """Raises ModelRejectedError where the version failed its probe or cannot be used."""
    if one.folder in failed:
        raise ModelRejectedError(f"{one.folder} failed its probe: {failed[one.folder]}; train the model again")
    try:
        load(one)
    except (ValueError, KeyError) as error:
        raise ModelRejectedError(f"{one.folder} cannot be used: {error}; train the model again") from None
