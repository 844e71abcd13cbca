"""Every minimum of an HPA, or replica count of a workload, from a watch: polling could miss a short dip."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.kubectl import Kubectl


@dataclass(frozen=True)
class FloorWatch:
    """The file into which kubectl writes the value after each change of the object."""

    file: Path

    async def minima(self) -> list[int]:
        """Return the minimum at the start, and after each change of the object; the last one may repeat."""
        return [int(line) for line in self.file.read_text().splitlines()]

    async def wait_for(self, minimum: int, seconds: float = 60) -> list[int]:
        """Wait until the newest minimum is this one, and return all of them."""
        return await eventually(self.minima, lambda minima: minima[-1:] == [minimum], seconds)


@asynccontextmanager
async def watched_floor(
    kubectl: Kubectl, file: Path, name: str = "checkout", *, kind: str = "hpa", field: str = "minReplicas"
) -> AsyncGenerator[FloorWatch]:
    """Watch a field of the spec of an object, by default of an HPA; its value is known on entry."""
    template = f"{{.spec.{field}}}{{'\\n'}}"
    with file.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(kubectl.program, "--kubeconfig", kubectl.kubeconfig, "--namespace", kubectl.namespace),
            *("get", kind, name, "--watch", "-o", f"jsonpath={template}"),
            stdout=output,
            stderr=asyncio.subprocess.DEVNULL,
        )
    watch = FloorWatch(file)
    try:
        await eventually(watch.minima, seconds=60)
        yield watch
        assert process.returncode is None, "the watch ended"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
