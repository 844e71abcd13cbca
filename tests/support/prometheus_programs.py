"""promtool, which checks configurations and tests alert rules, and the server of Prometheus."""

import asyncio
import shutil
from pathlib import Path

import aiohttp

from predictive_scaling.errors import StackError
from predictive_scaling.stack.processes import run
from tests.support.go_programs import PROMETHEUS


async def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output. Raises StackError with the output if it fails."""
    return await run(await install("promtool"), *arguments, purpose="promtool")


async def check_metrics(url: str) -> None:
    """Check names, types and help of the metrics at an address. Raises StackError with what promtool objects to."""
    async with aiohttp.ClientSession() as session, session.get(url, raise_for_status=True) as response:
        text = await response.read()
    process = await asyncio.create_subprocess_exec(
        *(await install("promtool"), "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate(text)
    if process.returncode != 0 or printed.strip():
        raise StackError(f"promtool check metrics objects to {url}:\n{printed.decode()}")


async def install(program: str) -> Path:
    """Return a program: on the PATH, or built into the stack's cache. Raises StackError with the remedy."""
    installed = shutil.which(program)
    if installed is not None:
        return Path(installed)
    try:
        return await PROMETHEUS.folder() / program
    except StackError as error:
        raise StackError(f"{error}\nAlternatively install both on the PATH (Debian: prometheus)") from None
