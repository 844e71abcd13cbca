"""Temporary folders that are removed at the end or, after a SIGKILL, by the next stack."""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from predictive_scaling.stack.server_user import server_user, temporary_base

_PREFIX = "predictive-scaling-stack-"
_LOCK = "owner"


class TemporaryFolder:
    """A folder that exists while this object holds its lock, which the kernel releases with the process.

    If we are root, the user that runs PostgreSQL can enter it, but not list it.
    """

    def __init__(self) -> None:
        user = server_user()
        base = temporary_base(user)
        remove_abandoned(base)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        if user is not None:
            self.path.chmod(0o711)
        self._lock: IO[str] = os.fdopen(os.open(self.path / _LOCK, os.O_CREAT | os.O_WRONLY, 0o600), "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder and its content; idempotent."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_abandoned(base: Path) -> None:
    """Remove the folders whose owner has ended, if permissions allow it."""
    for folder in base.glob(f"{_PREFIX}*"):
        with suppress(OSError), (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
