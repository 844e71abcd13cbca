"""Work that takes seconds of CPU, in child processes below our own priority: no tick waits for it."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

_NICER = 10


@dataclass(frozen=True, slots=True)
class CompletedChild:
    """Result of a child process. stderr_tail: the last line that it wrote to stderr."""

    exit_code: int
    output: bytes
    stderr_tail: str


async def run_child(
    arguments: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> CompletedChild:
    """`python -m …` with something on stdin; killed when it takes too long or we end. Raises TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICER)
    try:
        async with asyncio.timeout(timeout_seconds):
            output, errors = await process.communicate(stdin)
    except BaseException:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    last = errors.decode(errors="replace").strip().splitlines()[-1:]
    return CompletedChild(process.returncode or 0, output, " ".join(last)[:500])
