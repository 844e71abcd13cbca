"""promtool, which checks the configuration of Prometheus and tests alert rules.

Run as a program, it installs promtool: a build during the tests would slow down the others.
"""

import asyncio
import shutil
import sys
from functools import partial
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify, to_stderr

_MODULE = Path(__file__).parents[1] / "data" / "promtool"
# Without service discovery, which takes half of the time to build.
_FLAGS = ("-tags", "remove_all_sd", "-ldflags", "-s -w")


async def promtool(*arguments: str | Path) -> str:
    """Run promtool and return its output. Raises StackError with the output if it fails."""
    return await run(await install(to_stderr), *arguments, purpose="promtool")


async def install(notify: Notify) -> Path:
    """Return promtool: on the PATH, or built into the stack's cache. Raises StackError with the remedy."""
    installed = shutil.which("promtool")
    if installed is not None:
        return Path(installed)
    key = toolchain.module_key(_MODULE, *_FLAGS)
    return await cached("promtool", key, partial(_build, notify), notify) / "promtool"


async def _build(notify: Notify, folder: Path) -> None:
    notify("building promtool: about 150 s on two cores, fewer when Go has built it before")
    program = folder / "promtool"
    try:
        await toolchain.run_go(
            *(_MODULE, folder, "build", "-buildvcs=false", *_FLAGS, "-o", program),
            "github.com/prometheus/prometheus/cmd/promtool",
            purpose="building promtool",
            notify=notify,
        )
    except StackError as error:
        raise StackError(f"{error}\nAlternatively install promtool on the PATH (Debian: prometheus)") from None


if __name__ == "__main__":
    try:
        asyncio.run(install(to_stderr))
    except StackError as failure:
        sys.exit(str(failure))
