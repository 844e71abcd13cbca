"""`predictive-scaling` processes that need not import it: multiprocessing's fork server has done so once.

The imports take one or two CPU seconds a process, and the tests start hundreds. A test of the start itself, of what is
imported, or of a variable that a library reads at its import, runs the program with `sys.executable`.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from predictive_scaling.__main__ import main
from predictive_scaling.control.jobs import tuning
from predictive_scaling.control.jobs.subprocesses import CompletedChild
from predictive_scaling.tuning.task import ENCODE, TASK_DECODER
from predictive_scaling.tuning.worker import run_task

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [__name__, *(f"predictive_scaling.commands.{name}" for name in ("operate", "api", "ingest", "train")), "lightgbm"]
)
_POLL_SECONDS = 0.02


class ForkedProgram:
    """One process, with the attributes of `asyncio.subprocess.Process` that the tests use."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until it has ended, and return its exit code."""
        while True:
            if (code := self.returncode) is not None:
                return code
            await asyncio.sleep(_POLL_SECONDS)


def start_program(
    *arguments: str,
    environment: Mapping[str, str],
    output: Path,
    errors: Path | None = None,
    folder: Path | None = None,
    prepare: Callable[[], None] | None = None,
) -> ForkedProgram:
    """Start `predictive-scaling` with these arguments and this environment, in a session of its own.

    Its stdout and stderr are appended to `output`, or its stderr to `errors`; its temporary files are in the folder of
    `output`. folder: its working folder, by default that of the caller. prepare: is called in the process before the
    program. If it still runs when the calling process exits, it gets SIGTERM.
    """
    files = output.absolute(), (errors or output).absolute()
    task = arguments, dict(environment), files, (folder or Path.cwd()).absolute(), prepare
    process = _SERVER.Process(target=_run, args=task, daemon=True)
    process.start()
    return ForkedProgram(process)


def _run(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    files: tuple[Path, Path],
    folder: Path,
    prepare: Callable[[], None] | None,
) -> None:
    # As the program does after its imports: a full collection would visit, and so copy, all that the server imported.
    gc.freeze()
    os.setsid()
    for number, file in enumerate(files, start=1):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()  # of TZ
    # The Kubernetes client removes its temporary files at the exit of Python, which neither SIGKILL nor a fork reaches.
    tempfile.tempdir = str(files[0].parent)
    sys.argv = ["predictive-scaling", *arguments]
    tuning.run_child = _run_tuning_worker
    if prepare is not None:
        prepare()
    main()


async def _run_tuning_worker(arguments: Sequence[str], *, stdin: bytes, **_: Any) -> CompletedChild:
    """The tuning worker as a fork, because its imports take longer than its work; unit tests run it as a program."""
    assert arguments == ("predictive_scaling.tuning.worker",)
    return await asyncio.to_thread(_fork_tuning_worker, stdin)


def _fork_tuning_worker(tasks: bytes) -> CompletedChild:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            # Of the parent: its port must be free as soon as it is killed.
            os.closerange(3, writer)
            os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
            os.nice(10)
            with os.fdopen(writer, "wb") as output:
                output.write(ENCODE([run_task(task) for task in TASK_DECODER.decode(tasks)]))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        content = output.read()
    _, status = os.waitpid(pid, 0)
    return CompletedChild(os.waitstatus_to_exitcode(status), content, "")
