"""Runs the stack in this process, with the database schema and the custom resources, until it is cancelled."""

import asyncio
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.detached_stack import DetachedStack
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.preparation import prepare
from predictive_scaling.stack.progress import to_stderr
from predictive_scaling.stack.stack import Stack
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate

_CHECKOUT = Path(__file__).parents[3]
CRDS, ADMISSION = _CHECKOUT / "crds", _CHECKOUT / "config" / "admission"
PRIORITY_CLASS = _CHECKOUT / "config" / "placeholder-priority-class.yaml"
_CHECKOUT_TIMEOUT = timedelta(seconds=30)


async def run_stack(parts: Collection[Part], detached: DetachedStack, *, scheduler: bool, keda: bool) -> None:
    """Start the parts and publish how to reach them: in the files of `detached`, and on stdout. Runs until cancelled.

    scheduler: also start kube-scheduler. keda: also install the CRD of KEDA's ScaledObjects. Raises StackError with
    the part that did not start and the end of its log.
    """
    await prepare(parts)
    async with Stack(parts, cluster=ClusterOptions(scheduler=scheduler)) as stack:
        await _install_schemas(stack, parts)
        if keda and Part.KUBERNETES in parts:
            await stack.kubernetes.install_keda()
        print(detached.publish(stack), end="", flush=True)
        to_stderr(f"ready; Ctrl-C stops it; to use it in another shell: . {detached.environment_file}")
        await asyncio.Event().wait()


async def _install_schemas(stack: Stack, parts: Collection[Part]) -> None:
    if Part.KUBERNETES in parts and any(CRDS.glob("*.yaml")):
        await stack.kubernetes.install_custom_resources(CRDS)
        await stack.kubernetes.install_admission_policies(ADMISSION)
        await stack.kubernetes.kubectl("apply", "--server-side", "-f", str(PRIORITY_CLASS))
    if Part.POSTGRESQL in parts:
        async with Database(stack.database_url, purpose="stack", checkout_timeout=_CHECKOUT_TIMEOUT) as database:
            await migrate(database, WallClock())
