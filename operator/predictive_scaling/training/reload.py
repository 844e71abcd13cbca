"""Trained models in memory: reloaded without a restart, and used for all policies in one batch."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from forecasting.forecast import Forecast
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.training.batch import Batch, Name, Shelved, Wanted
from predictive_scaling.training.ledger import turned_back
from predictive_scaling.training.loading import PATIENCE_SECONDS, Checked, Loaded, check, load, probe
from predictive_scaling.training.manifest import Manifest
from predictive_scaling.training.registry import Registry
from predictive_scaling.training.series_keys import SeriesKey

__all__ = ["ModelShelf", "Rejected", "ReloadReport", "Reloaded", "Wanted"]


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
    turned_back_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """What a refresh changed; both empty when nothing did."""

    reloaded: tuple[Reloaded, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class ModelShelf:
    """The models in use, by series. Safe to call from several threads; a refresh never disturbs a forecast."""

    def __init__(self, folder: Path, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._registry = Registry(folder)
        self._patience_seconds = patience_seconds
        self._seen: dict[str, tuple[int, int]] = {}
        self._shelved: dict[SeriesKey, Shelved] = {}
        self._turned_back: dict[SeriesKey, datetime] = {}
        self._refreshing = threading.Lock()

    async def refresh(self) -> ReloadReport:
        """Take up what was published since the last call; cheap when nothing was.

        A refused model is reported once; the last good one, or an older good version, serves on.
        """
        return await asyncio.to_thread(self._refresh)

    def models(self) -> dict[SeriesKey, Manifest]:
        """What is in use: a copy."""
        return {key: shelved.loaded.manifest for key, shelved in self._shelved.items()}

    def turned_back(self) -> dict[SeriesKey, datetime]:
        """The series whose model in use is one that a person went back to, and when: a copy."""
        return dict(self._turned_back)

    def forecast(self, wanted: Mapping[Name, Wanted]) -> dict[Name, Forecast]:
        """One forecast for each name, all in one batch. CPU-bound: call it in a thread.

        Never raises for a series, however short, flat or gappy: those get the best naive answer. A series in which
        nothing at all was observed gets none and is left out: no data is not zero demand.
        """
        return Batch(self._shelved).forecast(wanted)

    def _refresh(self) -> ReloadReport:
        with self._refreshing:
            pointers = self._registry.pointers()
            changed = [slug for slug, pointer in pointers.items() if self._seen.get(slug) != pointer]
            gone = self._seen.keys() - pointers.keys()
            if not changed and not gone:
                return ReloadReport()
            good, rejected = self._admit(changed)
            kept = {key: shelved for key, shelved in self._shelved.items() if key.slug not in gone}
            # One assignment: a forecast under way keeps the models that it began with.
            self._shelved = {**kept, **{loaded.manifest.key: Shelved.of(loaded) for loaded in good}}
            self._seen = pointers
            described = tuple(self._described(loaded) for loaded in good)
            others = {key: at for key, at in self._turned_back.items() if key in kept}
            for one in described:
                others.pop(one.key, None)
            backed = {one.key: one.turned_back_at for one in described if one.turned_back_at is not None}
            self._turned_back = others | backed
            return ReloadReport(described, tuple(rejected))

    def _admit(self, slugs: list[str]) -> tuple[list[Loaded], list[Rejected]]:
        """Try each series' versions, the current one first, until one is good or the one in use is reached."""
        good: list[Loaded] = []
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
            failed = probe([one.folder for one in checked.values() if one.manifest.files], self._patience_seconds)
            for slug, one in checked.items():
                try:
                    good.append(self._loaded(one, failed))
                    del candidates[slug]
                except ModelRejectedError as error:
                    rejected.append(Rejected(f"{slug}/{one.folder.name}", str(error)))
        return good, rejected

    def _candidates(self, slug: str) -> list[str]:
        versions = self._registry.candidates(slug)
        in_use = [one.loaded.manifest.version for key, one in self._shelved.items() if key.slug == slug]
        return versions[: versions.index(in_use[0])] if in_use and in_use[0] in versions else versions

    def _loaded(self, one: Checked, failed: Mapping[Path, str]) -> Loaded:
        if one.folder in failed:
            raise ModelRejectedError(f"{one.folder} failed its probe: {failed[one.folder]}; train the model again")
        try:
            return load(one)
        except (ValueError, KeyError) as error:
            raise ModelRejectedError(f"{one.folder} cannot be used: {error}; train the model again") from None

    def _described(self, loaded: Loaded) -> Reloaded:
        manifest = loaded.manifest
        back = turned_back(self._registry.folder / manifest.key.slug, manifest.version)
        verdict = back.evidence if back else manifest.gate.evidence
        return Reloaded(manifest.key, manifest.version, manifest.gate.passed, verdict, back.at if back else None)
