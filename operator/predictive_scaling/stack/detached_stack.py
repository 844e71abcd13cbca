"""A stack that keeps running: at most one for each folder, whose files other processes use to reach and end it."""

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

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.progress import Notify
from predictive_scaling.stack.stack import Part, Stack

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
        """Own the folder. Raises StackError naming the process that owns it already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"a stack runs in {self.folder} already (process {self.owner()}); "
                    "use it, or end it: predictive-scaling stack down"
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
        """The process that owns the folder; None when none does."""
        if not self._lock.exists():
            return None
        with self._lock.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or "0") or None
        return None

    def publish(self, stack: Stack) -> str:
        """Write the files; returns the lines of `environment_file`."""
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
        """Start the stack in a separate process; returns the lines of `environment_file` when it is ready.

        Raises StackError when it ends instead; its log is passed on while it starts.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.owner() is None:
            self._clear()  # what a killed owner left would look ready
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
        # In this order: `owner` takes the lock for a moment, in which the new owner could not take it.
        return self.environment_file.exists() and self.owner() == owner

    def end(self, limit_seconds: float = 60.0) -> bool:
        """End the stack with SIGTERM, after `limit_seconds` with SIGKILL. Returns False when none ran."""
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
