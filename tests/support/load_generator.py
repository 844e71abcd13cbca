"""vegeta, an HTTP load generator: requests at a fixed rate, or as many as the server answers.

Run as a program, it installs vegeta: a build during a measurement would slow it down.
"""

import asyncio
import json
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify, to_stderr

_MODULE = Path(__file__).parents[1] / "data" / "load_generator"
_FLAGS = ("-ldflags", "-s -w")
_MILLISECOND = 1e6


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The answers to the requests of an attack. Latencies are in milliseconds."""

    requests: int
    requests_per_second: float
    median_ms: float
    p99_ms: float
    bytes: float
    """Mean size of a body as it was sent, compressed."""


async def attack(
    targets: Path, *, seconds: float, connections: int, rate: int | None = None, folder: Path
) -> LoadReport:
    """Request the lines of `targets` in turn over kept-alive connections.

    targets: lines such as `GET http://…`. rate: requests a second; None for one after the other on each connection.
    Raises StackError for any answer but 200.
    """
    program = await install(to_stderr)
    results = folder / "vegeta.bin"
    paced = ("-rate", f"{rate}/s") if rate is not None else ("-rate", "0")
    await run(
        *(program, "attack", "-targets", targets, "-duration", f"{seconds}s", *paced, "-output", results),
        *("-workers", str(connections), "-max-workers", str(connections), "-connections", str(connections)),
        *("-timeout", "10s", "-header", "Accept-Encoding: gzip"),
        purpose="vegeta attack",
    )
    report = json.loads(await run(program, "report", "-type", "json", results, purpose="vegeta report"))
    if report["success"] != 1:
        raise StackError(f"vegeta: not every request of {targets} was answered 200: {report['status_codes']}")
    return LoadReport(
        requests=report["requests"],
        requests_per_second=report["throughput"],
        median_ms=report["latencies"]["50th"] / _MILLISECOND,
        p99_ms=report["latencies"]["99th"] / _MILLISECOND,
        bytes=report["bytes_in"]["mean"],
    )


async def install(notify: Notify) -> Path:
    """Return vegeta: on the PATH, or built into the stack's cache. Raises StackError with the remedy."""
    installed = shutil.which("vegeta")
    if installed is not None:
        return Path(installed)
    key = toolchain.module_key(_MODULE, *_FLAGS)
    return await cached("vegeta", key, partial(_build, notify), notify) / "vegeta"


async def _build(notify: Notify, folder: Path) -> None:
    notify("building vegeta: about 30 s on two cores")
    try:
        await toolchain.run_go(
            *(_MODULE, folder, "build", "-buildvcs=false", *_FLAGS, "-o", f"{folder}/"),
            "github.com/tsenart/vegeta/v12",
            purpose="building vegeta",
            notify=notify,
        )
    except StackError as error:
        raise StackError(f"{error}\nAlternatively install vegeta on the PATH") from None


if __name__ == "__main__":
    try:
        asyncio.run(install(to_stderr))
    except StackError as failure:
        sys.exit(str(failure))
