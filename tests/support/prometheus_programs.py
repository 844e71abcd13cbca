"""The programs of Prometheus: promtool, which checks configurations and tests alert rules, and the server.

Run as a program, it installs them: a build during the tests would slow down the others.
"""

import asyncio
import shutil
import sys
from functools import partial
from pathlib import Path

import aiohttp

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify, to_stderr

_MODULE = Path(__file__).parents[1] / "data" / "prometheus_programs"
# Without service discovery, which takes half of the time to build.
_FLAGS = ("-tags", "remove_all_sd", "-ldflags", "-s -w")
_PROGRAMS = ("promtool", "prometheus")


async def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output. Raises StackError with the output if it fails."""
    return await run(await install("promtool", to_stderr), *arguments, purpose="promtool")


async def check_metrics(url: str) -> None:
    """Check names, types and help of the metrics at an address. Raises StackError with what promtool objects to."""
    async with aiohttp.ClientSession() as session, session.get(url, raise_for_status=True) as response:
        text = await response.read()
    process = await asyncio.create_subprocess_exec(
        *(await install("promtool", to_stderr), "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate(text)
    if process.returncode != 0 or printed.strip():
        raise StackError(f"promtool check metrics objects to {url}:\n{printed.decode()}")


async def install(program: str, notify: Notify) -> Path:
    """Return a program: on the PATH, or built into the stack's cache. Raises StackError with the remedy."""
    installed = shutil.which(program)
    if installed is not None:
        return Path(installed)
    key = toolchain.module_key(_MODULE, *_FLAGS)
    return await cached("prometheus", key, partial(_build, notify), notify) / program


async def _build(notify: Notify, folder: Path) -> None:
    notify("building prometheus and promtool: about 100 s on two cores, fewer when Go has built them before")
    try:
        await toolchain.run_go(
            *(_MODULE, folder, "build", "-buildvcs=false", *_FLAGS, "-o", f"{folder}/"),
            *(f"github.com/prometheus/prometheus/cmd/{program}" for program in _PROGRAMS),
            purpose="building prometheus and promtool",
            notify=notify,
        )
    except StackError as error:
        raise StackError(f"{error}\nAlternatively install both on the PATH (Debian: prometheus)") from None


async def _install_all() -> None:
    for program in _PROGRAMS:
        await install(program, to_stderr)


if __name__ == "__main__":
    try:
        asyncio.run(_install_all())
    except StackError as failure:
        sys.exit(str(failure))
