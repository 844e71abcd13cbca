"""Child processes with a readiness probe that never outlive this process."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from predictive_scaling.clock import monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.ports import LOOPBACK

Probe = Callable[[], Awaitable[None]]
"""Returns if the part is ready; raises otherwise."""

_POLL_SECONDS = 0.05
_LAST_LINES = 15


@dataclass(slots=True)
class Child:
    """A process of the stack in its own process group, so that Ctrl-C does not reach it.

    The kernel ends it when the thread that started it ends for any reason (Linux' parent-death signal): start it from
    the main thread. It may be stopped, killed and started again, with the same log.
    """

    name: str
    command: Sequence[str | Path]
    log: Path
    ready: Probe
    deadline_seconds: float = 120.0
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables in addition to our own environment."""
    folder: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    privileges: Sequence[str] = ()
    """Additional options of setpriv: the user to run as."""
    death_signal: str = "KILL"
    _process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the running or last process. Raises StackError before the first start."""
        if self._process is None:
            raise StackError(f"{self.name} was never started")
        return self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises StackError with the end of its log."""
        if self.running:
            return
        self._process = self._spawn()
        until = monotonic() + self.deadline_seconds
        while True:
            reason = await self._not_ready()
            if reason is None:
                return
            if not self.running:
                raise StackError(f"{self.name} ended with {self._process.returncode} while starting{self._tail()}")
            if monotonic() > until:
                self.kill()
                raise StackError(f"{self.name} was not ready in {self.deadline_seconds:g} s: {reason}{self._tail()}")
            await asyncio.sleep(_POLL_SECONDS)

    async def stop(self, limit_seconds: float = 10.0) -> None:
        """Send the stop signal; kill the process if it has not ended after `limit_seconds`."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(self.stop_signal)
        until = monotonic() + limit_seconds
        while self.running and monotonic() < until:  # noqa: ASYNC110 (the kernel sends no asyncio.Event)
            await asyncio.sleep(_POLL_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL and wait until the process has ended."""
        if self._process is None:
            return
        if self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        launcher = ["setpriv", *self.privileges, "--pdeathsig", self.death_signal, "--"]
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(
                    [*launcher, *self.command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    env={**os.environ, **self.environment},
                    start_new_session=True,
                )
        except FileNotFoundError:
            raise StackError(
                "setpriv is not installed; install util-linux 2.33 or newer (apt-get install util-linux)"
            ) from None

    async def _not_ready(self) -> str | None:
        try:
            async with asyncio.timeout(5):
                await self.ready()
        except Exception as error:  # any error of a probe's client means: not ready yet
            return f"{type(error).__name__}: {error}"
        return None if self.running else "it ended"

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        if not lines:
            return f"; its log {self.log} is empty"
        return "\n".join([f"; the end of its log ({self.log}):", *(f"  {line[:500]}" for line in lines[-_LAST_LINES:])])


class SingleProcess:
    """A part of the stack that consists of one process."""

    _child: Child | None = None

    @property
    def server(self) -> Child:
        """The process, which tests stop, kill and start. Raises StackError before the first start."""
        if self._child is None:
            raise StackError(f"{type(self).__name__} has no process: it was not started")
        return self._child

    async def stop(self) -> None:
        """Stop the process gracefully; it may be started again on the same port."""
        if self._child is not None:
            await self._child.stop()

    def kill(self) -> None:
        """Send SIGKILL, as in a failure of the machine."""
        if self._child is not None:
            self._child.kill()


def port_is_open(port: int) -> Probe:
    """Return a probe that succeeds as soon as the port accepts connections."""

    async def probe() -> None:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.close()
        await writer.wait_closed()

    return probe


def answers(url: str, headers: Mapping[str, str] | None = None) -> Probe:
    """Return a probe that succeeds when a GET returns 200; certificates are not verified (the stack created them)."""

    async def probe() -> None:
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url, ssl=False) as response:
            response.raise_for_status()

    return probe


async def run(
    *command: str | Path, folder: Path | None = None, environment: Mapping[str, str] | None = None, purpose: str
) -> str:
    """Run a command to its end and return its output; `purpose` describes it in error messages.

    Raises StackError with the end of its output if it fails, or if it does not exist.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except FileNotFoundError:
        raise StackError(f"{purpose}: {command[0]} is not installed") from None
    try:
        printed, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    text = printed.decode(errors="replace")
    if process.returncode != 0:
        end = "\n".join(f"  {line[:500]}" for line in text.splitlines()[-_LAST_LINES:])
        raise StackError(f"{purpose}: {Path(command[0]).name} ended with {process.returncode}:\n{end}")
    return text
