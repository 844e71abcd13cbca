"""The models folder: models/<series>/<version>/…, and the file CURRENT, which names the version in use."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.manifest import read_manifest
from predictive_scaling.resources.series_key import SeriesKey

CURRENT = "CURRENT"
MAX_VERSIONS = 3
_UNFINISHED = ".unfinished-"
_MAX_POINTER_BYTES = 64


class Registry:
    """The versions on disk. It reads manifests, not models. One writer per series at a time, any number of readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pointers(self) -> dict[str, tuple[int, int]]:
        """Return the file identity of each series' pointer; it changes when the pointer is written."""
        identities: dict[str, tuple[int, int]] = {}
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return identities
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                try:
                    stat = os.lstat(Path(entry.path) / CURRENT)
                except FileNotFoundError:
                    continue
                identities[entry.name] = (stat.st_ino, stat.st_mtime_ns)
        return identities

    def keys(self) -> list[SeriesKey]:
        """Return the series that have a readable current version, sorted."""
        keys: set[SeriesKey] = set()
        for slug in self.pointers():
            version = self.current(slug)
            if version is not None:
                with suppress(ModelRejectedError):
                    keys.add(read_manifest(self.path(slug, version)).key)
        return sorted(keys)

    def current(self, slug: str) -> str | None:
        """Return the version that the pointer names; None without a pointer or if that version does not exist."""
        try:
            with (self.folder / slug / CURRENT).open(encoding="ascii") as pointer:
                version = pointer.read(_MAX_POINTER_BYTES).strip()
        except (OSError, UnicodeDecodeError):
            return None
        return version if version in self.versions(slug) else None

    def versions(self, slug: str) -> list[str]:
        """Return the completely written versions of a series, newest first."""
        try:
            entries = list(os.scandir(self.folder / slug))
        except FileNotFoundError:
            return []
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted((name for name in names if not name.startswith(".")), reverse=True)

    def candidates(self, slug: str) -> list[str]:
        """Return the versions in the order in which they should be tried: current version, then newest first."""
        current = self.current(slug)
        others = [version for version in self.versions(slug) if version != current]
        return [current, *others] if current else others

    def path(self, slug: str, version: str) -> Path:
        """Return the folder of a version."""
        return self.folder / slug / version

    def add(self, slug: str, version: str, files: dict[str, bytes]) -> Path:
        """Write a version completely or not at all, and make it the current one. Returns its folder.

        Adding the same version twice changes nothing. After a crash at any moment, the pointer names the old version or
        the new version, and either is complete.
        """
        final = self.path(slug, version)
        if not final.is_dir():
            draft = final.with_name(f"{_UNFINISHED}{version}-{os.getpid()}")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            for name, content in files.items():
                _write(draft / name, content)
            _sync(draft)
            draft.rename(final)
            _sync(final.parent)
        self.point(slug, version)
        return final

    def point(self, slug: str, version: str) -> None:
        """Make a version the current one."""
        draft = self.folder / slug / f"{_UNFINISHED}{CURRENT}-{os.getpid()}"
        _write(draft, version.encode())
        draft.replace(self.folder / slug / CURRENT)
        _sync(draft.parent)

    def prune(self, slug: str, kept: int = MAX_VERSIONS) -> list[str]:
        """Remove all but the newest versions, never the current one. Returns the removed versions, newest first."""
        current = self.current(slug)
        removed = [version for version in self.versions(slug)[kept:] if version != current]
        for version in removed:
            shutil.rmtree(self.path(slug, version), ignore_errors=True)
        return removed


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
