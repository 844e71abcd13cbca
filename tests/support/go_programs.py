"""Programs that only tests need, built from pinned Go modules into the stack's cache.

Run as a program, it builds them all: a build during the tests would slow down the others.
"""

import asyncio
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cached
from predictive_scaling.stack.progress import Notify, to_stderr

_DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True, slots=True)
class GoPrograms:
    """Programs of one module, which are built together."""

    name: str
    """Of their folders: in the cache and, with go.mod and go.sum, in tests/data."""
    packages: tuple[str, ...]
    seconds: int
    """Build time on two cores without Go's own cache."""
    tags: tuple[str, ...] = ()

    async def folder(self, notify: Notify = to_stderr) -> Path:
        """Return the folder with the programs; build them if they are missing. Raises StackError with the reason."""
        key = toolchain.module_key(self._module, *self._flags)
        return await cached(self.name, key, partial(self._build, notify), notify)

    @property
    def _module(self) -> Path:
        return _DATA / self.name

    @property
    def _flags(self) -> tuple[str, ...]:
        return (*(("-tags", ",".join(self.tags)) if self.tags else ()), "-ldflags", "-s -w")

    async def _build(self, notify: Notify, folder: Path) -> None:
        notify(f"building {self.name}: about {self.seconds} s on two cores, fewer when Go has built it before")
        await toolchain.run_go(
            *(self._module, folder, "build", "-buildvcs=false", *self._flags, "-o", f"{folder}/", *self.packages),
            purpose=f"building {self.name}",
            notify=notify,
        )


PROMETHEUS = GoPrograms(
    "prometheus_programs",
    tuple(f"github.com/prometheus/prometheus/cmd/{program}" for program in ("promtool", "prometheus")),
    seconds=100,
    # Without service discovery, which takes half of the time to build.
    tags=("remove_all_sd",),
)
"""promtool, which checks configurations and tests alert rules, and the server."""
HELM_3 = GoPrograms("helm_3", ("helm.sh/helm/v3/cmd/helm",), seconds=60)
"""The earlier major version of Helm, which merges on the client."""
ACTIONLINT = GoPrograms("actionlint", ("github.com/rhysd/actionlint/cmd/actionlint",), seconds=10)
"""Checks the workflows of the hosted CI."""
KUBE_STATE_METRICS = GoPrograms("kube_state_metrics", ("k8s.io/kube-state-metrics/v2",), seconds=60)
"""Serves the custom resources as metrics."""
ALL = (PROMETHEUS, HELM_3, ACTIONLINT, KUBE_STATE_METRICS)


async def _build_all() -> None:
    for programs in ALL:
        await programs.folder()


if __name__ == "__main__":
    try:
        asyncio.run(_build_all())
    except StackError as failure:
        sys.exit(str(failure))
