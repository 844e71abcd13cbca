"""A stack that keeps running, at most one per folder. Other processes use the folder's files to reach and end it."""

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.progress import Notify

if TYPE_CHECKING:
    from predictive_scaling.stack.stack import Stack

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class DetachedStack:
    """A running stack, described by the files in `folder`."""

    folder: Path

    @property
    def environment_file(self) -> Path:
        """Shell assignments, for `. <folder>/env`. The file exists exactly while the stack is ready."""
        return self.folder / "env"

    @property
    def log(self) -> Path:
        """The log of a detached stack."""
        return self.folder / "stack.log"

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @contextlib.contextmanager
    def held(self) -> Generator[None]:
        """Own the folder. Raises StackError with the process that already owns it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"a stack already runs in {self.folder} (process {self.owner()}); "
                    "use it, or end it with `predictive-scaling stack down`"
                ) from None
            self._clear()
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield
            finally:
                self._clear()

    def owner(self) -> int | None:
        """Return the id of the process that owns the folder; None without an owner."""
        if not self._lock.exists():
            return None
        with self._lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or "0") or None
        return None

    def publish(self, stack: "Stack") -> str:
        """Write the files; return the lines of `environment_file`."""
        environment = stack.environment()
        lines: list[str] = []
        if "KUBECONFIG" in environment:
            kubeconfig = self.folder.resolve() / "kubeconfig"
            shutil.copy(environment["KUBECONFIG"], kubeconfig)
            environment["KUBECONFIG"] = str(kubeconfig)
            lines = [f'export PATH={shlex.quote(str(stack.kubernetes.kubectl_program.parent))}:"$PATH"']
        lines += [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        text = "\n".join(lines) + "\n"
        written = self.environment_file.with_suffix(".new")
        written.write_text(text)
        written.rename(self.environment_file)
        return text

    def launch(self, parts: Sequence[Part], *options: str, notify: Notify) -> str:
        """Start the stack in a separate process; return the lines of `environment_file` when it is ready.

        Its log is passed to `notify` meanwhile. Raises StackError if the process ends.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.owner() is None:
            self._clear()  # files of a killed owner would make the stack look ready
        requested = [text for part in parts for text in ("--only", part.value)]
        command = [sys.executable, "-m", "predictive_scaling", "stack", "up", "--folder", str(self.folder)]
        with self.log.open("w") as log, self.log.open() as written:
            process = subprocess.Popen(
                [*command, *options, *requested],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
            while process.poll() is None and not self._is_ready(process.pid):
                _pass_on(written.read(), notify)
                time.sleep(_POLL_SECONDS)
            _pass_on(written.read(), notify)
        if process.returncode is not None:
            raise StackError(f"the stack ended with {process.returncode} while starting; its log is {self.log}")
        return self.environment_file.read_text()

    def _is_ready(self, owner: int) -> bool:
        # The order matters: `owner` takes the lock briefly, and the new owner could not take it at that time.
        return self.environment_file.exists() and self.owner() == owner

    def end(self, limit_seconds: float = 60.0) -> bool:
        """End the stack with SIGTERM, after `limit_seconds` with SIGKILL. Return False if no stack runs."""
        owner = self.owner()
        if owner is None:
            return False
        os.kill(owner, signal.SIGTERM)
        until = monotonic() + limit_seconds
        while self.owner() == owner:
            if monotonic() > until:
                os.kill(owner, signal.SIGKILL)
                until += limit_seconds
            time.sleep(_POLL_SECONDS)
        self._clear()
        return True

    def _clear(self) -> None:
        for name in ("env", "kubeconfig"):
            (self.folder / name).unlink(missing_ok=True)


def _pass_on(lines: str, notify: Notify) -> None:
    for line in lines.splitlines():
        notify(line.removeprefix("[stack] "))
