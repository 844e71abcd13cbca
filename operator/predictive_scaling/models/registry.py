"""The folder of models: models/<series>/<version>/…, and CURRENT, which names the version in use."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.manifest import read_manifest
from predictive_scaling.models.series_key import SeriesKey

CURRENT = "CURRENT"
KEPT = 3
_UNFINISHED = ".unfinished-"
_POINTER_BYTES = 64


class Registry:
    """Files; of a model at most the manifest is read. One writer a series at a time, any number of readers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pointers(self) -> dict[str, tuple[int, int]]:
        """For each series' folder the identity of its pointer: another one means another version."""
        found: dict[str, tuple[int, int]] = {}
        try:
            entries = list(os.scandir(self.folder))
        except FileNotFoundError:
            return found
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                try:
                    stat = os.lstat(Path(entry.path) / CURRENT)
                except FileNotFoundError:
                    continue
                found[entry.name] = (stat.st_ino, stat.st_mtime_ns)
        return found

    def keys(self) -> list[SeriesKey]:
        """The series that have a readable version, sorted."""
        found: set[SeriesKey] = set()
        for slug in self.pointers():
            version = self.current(slug)
            if version is not None:
                with suppress(ModelRejectedError):
                    found.add(read_manifest(self.path(slug, version)).key)
        return sorted(found)

    def current(self, slug: str) -> str | None:
        """The version that the pointer names; None where there is none or it names none that is there."""
        try:
            with (self.folder / slug / CURRENT).open(encoding="ascii") as pointer:
                version = pointer.read(_POINTER_BYTES).strip()
        except (OSError, UnicodeDecodeError):
            return None
        return version if version in self.versions(slug) else None

    def versions(self, slug: str) -> list[str]:
        """Finished versions of a series, newest first."""
        try:
            entries = list(os.scandir(self.folder / slug))
        except FileNotFoundError:
            return []
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted((name for name in names if not name.startswith(".")), reverse=True)

    def candidates(self, slug: str) -> list[str]:
        """Versions in the order in which they should be tried: the current one, then the newest."""
        current = self.current(slug)
        others = [version for version in self.versions(slug) if version != current]
        return [current, *others] if current else others

    def path(self, slug: str, version: str) -> Path:
        """The folder of a version."""
        return self.folder / slug / version

    def add(self, slug: str, version: str, files: dict[str, bytes]) -> Path:
        """Put a version there whole or not at all, and point to it. The same version twice changes nothing.

        After a crash at any moment the old pointer or the new one stands, each at a whole version.
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

    def prune(self, slug: str, kept: int = KEPT) -> list[str]:
        """Remove all but the newest versions, never the current one. What was removed, newest first."""
        current = self.current(slug)
        gone = [version for version in self.versions(slug)[kept:] if version != current]
        for version in gone:
            shutil.rmtree(self.path(slug, version), ignore_errors=True)
        return gone


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
