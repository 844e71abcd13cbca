"""The user for servers that refuse to run as root, and the folders that it can enter."""

import os
import pwd
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from predictive_scaling.errors import StackError

_NAME = "nobody"
_BASES = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run"))  # noqa: S108 (each is checked before use)


@dataclass(frozen=True, slots=True)
class ServerUser:
    """A user without privileges."""

    uid: int
    gid: int

    @property
    def setpriv_options(self) -> Sequence[str]:
        """Options of setpriv that run a command as this user, without any capability of root."""
        return ("--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups", "--no-new-privs")

    def can_enter(self, folder: Path) -> bool:
        """Whether the user may enter a folder, by the permissions of it and of all folders above it."""
        path = folder.resolve()
        try:
            return all(self._may_search(ancestor) for ancestor in (path, *path.parents))
        except OSError:
            return False

    def _may_search(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        return bool(status.st_mode & (stat.S_IXGRP if status.st_gid == self.gid else stat.S_IXOTH))


def server_user() -> ServerUser | None:
    """Return `nobody` if we are root, because PostgreSQL refuses to run as root; None otherwise."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(_NAME)
    except KeyError:
        raise StackError(
            f"PostgreSQL refuses to run as root, and this machine has no user {_NAME} to run it; "
            "run this as another user than root"
        ) from None
    return ServerUser(user.pw_uid, user.pw_gid)


def temporary_base(user: ServerUser | None, others: Iterable[Path] = _BASES) -> Path:
    """Return the base of temporary folders: TMPDIR, or the first of `others` if `user` cannot enter it.

    Raises StackError if the user can enter none of them.
    """
    base = Path(tempfile.gettempdir())
    if user is None or user.can_enter(base):
        return base
    alternative = next((other for other in others if other.is_dir() and user.can_enter(other)), None)
    if alternative is None:
        raise StackError(
            f"the user {_NAME}, which runs PostgreSQL, can enter no temporary folder; set TMPDIR to another"
        )
    return alternative
