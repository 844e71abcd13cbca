"""A cache of built and downloaded programs outside the checkout, shared by all checkouts of a user."""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack.progress import Notify

Build = Callable[[Path], Awaitable[None]]
"""Fills an empty folder, or raises."""

_POLL_SECONDS = 0.2


def cache_folder() -> Path:
    """Return `predictive-scaling` in the user's cache folder; create it if missing. Raises StackError on failure."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG base directory specification: a relative path is ignored.
    base = configured if configured.is_absolute() else Path.home() / ".cache"
    folder = base / "predictive-scaling"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"{folder} cannot be created ({error.strerror}); set XDG_CACHE_HOME to a writable folder"
        ) from None
    return folder


async def cached(name: str, key: str, build: Build, notify: Notify, base: Path | None = None) -> Path:
    """Return the folder of `name` in the version `key`; build it if missing. base: default is the user's cache folder.

    Concurrent callers build it once, and the others wait. An interrupted build leaves nothing behind.
    """
    folder = (base or cache_folder()) / name / key
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    async with _file_lock(
        folder.parent / f"{key}.lock", waiting=lambda: notify(f"waiting for another build of {name}")
    ):
        if folder.is_dir():
            return folder
        _remove_interrupted(folder)
        building = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=folder.parent))
        try:
            await build(building)
            _publish(building, folder)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return folder


def _remove_interrupted(folder: Path) -> None:
    for building in folder.parent.glob(f".{folder.name}-*"):
        shutil.rmtree(building, ignore_errors=True)


def _publish(building: Path, folder: Path) -> None:
    building.chmod(0o755)
    building.rename(folder)


@asynccontextmanager
async def _file_lock(path: Path, waiting: Callable[[], None]) -> AsyncGenerator[None]:
    with path.open("w") as lock:
        notified = False
        while not _try_lock(lock.fileno()):
            if not notified:
                waiting()
            notified = True
            await asyncio.sleep(_POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
