"""`predictive-scaling restore`: gives all targets their minimum back, before the operator is removed."""

import asyncio
import signal
import sys
from contextlib import AsyncExitStack
from typing import Annotated

import structlog
import typer

from predictive_scaling.bootstrap import Operator, assemble, lease_namespace
from predictive_scaling.clock import Clock, monotonic, parse_clock
from predictive_scaling.cluster.client import Cluster, Json, connected
from predictive_scaling.cluster.leadership import Leadership
from predictive_scaling.control.actuation.headroom_objects import PlaceholderOptions
from predictive_scaling.control.actuation.headroom_writer import HeadroomWriter
from predictive_scaling.control.jobs.restore_all import RestoreAll
from predictive_scaling.errors import ClusterUnavailableError, LeadershipLostError, RestorationIncompleteError
from predictive_scaling.ports import Databases, Ports
from predictive_scaling.resources.metadata import PolicyKey
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.telemetry.logs import configure_logs

app = typer.Typer()
log = structlog.get_logger(__name__)

_POLL_SECONDS = 0.2
_LISTED_FAILURES = 20


@app.command()
def restore(
    operator_deployment: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The operator's Deployment, next to its Lease: scaled to zero first, and back after a failure.",
        ),
    ] = None,
    timeout_seconds: Annotated[
        float, typer.Option(min=1, help="Time for the Lease, and again for the targets, in seconds.")
    ] = 120.0,
) -> None:
    """Restore the targets of all policies and remove the operator's finalizers; the policies stay.

    It waits for the operator's Lease and holds it meanwhile: no operator acts at the same time. A policy in mode Auto
    takes its target over again as soon as an operator runs.

    Exit codes: 0 all targets restored, 1 some not, 75 API server unavailable, 78 invalid setting, 79 the Lease is held.
    """
    settings = read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    try:
        count = asyncio.run(_restore(settings, clock, operator_deployment, timeout_seconds))
    except asyncio.CancelledError:
        raise RestorationIncompleteError("stopped by a signal; repeat the command to restore all targets") from None
    typer.echo(f"policies whose targets were restored: {count}")


async def _restore(settings: Settings, clock: Clock, deployment: str | None, seconds: float) -> int:
    """Return the number of policies whose targets were restored. SIGTERM cancels it, for example of a deleted Job."""
    work = asyncio.create_task(_restore_and_scale_back(settings, clock, deployment, seconds))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    return await work


async def _restore_and_scale_back(settings: Settings, clock: Clock, deployment: str | None, seconds: float) -> int:
    """As _restore. After a failure the operator's Deployment gets its replicas back."""
    databases = Databases.of(settings)
    # Restoring needs no data, and has to work after the database is gone.
    databases.hold("it is not used")
    async with AsyncExitStack() as parts:
        parts.push_async_callback(databases.close)
        cluster = await parts.enter_async_context(connected(connections=2 * settings.writes_in_flight))
        replicas = None if deployment is None else await _scale(cluster, settings, deployment, 0)
        try:
            return await _restore_as_leader(settings, clock, cluster, databases, seconds)
        except BaseException:
            if deployment is not None and replicas:
                await _scale(cluster, settings, deployment, replicas)
            raise


async def _restore_as_leader(
    settings: Settings, clock: Clock, cluster: Cluster, databases: Databases, seconds: float
) -> int:
    operator = assemble(settings, clock, Ports.of(settings, cluster, databases))
    campaign = asyncio.create_task(_campaign(operator))
    operator.watch.start()
    try:
        await _wait_for_lease(operator.leadership, seconds)
        await _wait_for_policies(operator, seconds)
        loop, reconciler = operator.loop, operator.loop.reconciler
        options = PlaceholderOptions(settings.placeholder_image, settings.placeholder_priority_class)

        def leads() -> bool:
            return operator.leadership.leads

        job = RestoreAll(
            operator.cache,
            loop.states,
            reconciler.restoration,
            HeadroomWriter(cluster.fenced(leads), options, settings.namespaces),
            clock,
            leads,
            settings.writes_in_flight,
        )
        restored = await job.run(seconds)
        await reconciler.events.send()
        if restored.failures:
            raise RestorationIncompleteError(_describe(restored.failures))
        return restored.policies
    finally:
        campaign.cancel()
        await operator.aws.close()
        await operator.leadership.release()
        await operator.watch.stop()


async def _campaign(operator: Operator) -> None:
    while True:
        await operator.leadership.campaign()
        await asyncio.sleep(operator.leadership.terms.retry_seconds)


async def _wait_for_lease(leadership: Leadership, seconds: float) -> None:
    deadline = monotonic() + seconds
    while not leadership.leads:
        if monotonic() >= deadline:
            raise LeadershipLostError(
                f"The Lease {leadership.namespace}/{leadership.name} was not free within {seconds:g} s: stop the "
                "operator first, for example with --operator-deployment"
            )
        await asyncio.sleep(_POLL_SECONDS)


async def _wait_for_policies(operator: Operator, seconds: float) -> None:
    """Wait until the index has every policy, with its newest status."""
    deadline = monotonic() + seconds
    while True:
        try:
            await operator.loop.index.wait_until_complete()
            await operator.loop.index.compare()
        except ClusterUnavailableError:
            if monotonic() >= deadline:
                raise
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return


async def _scale(cluster: Cluster, settings: Settings, deployment: str, replicas: int) -> int:
    """Set the replicas of the operator's Deployment and return how many it had."""
    path = f"/apis/apps/v1/namespaces/{lease_namespace(settings)}/deployments/{deployment}/scale"
    before: Json = (await cluster.get(path)).get("spec") or {}
    await cluster.merge(path, {"spec": {"replicas": replicas}})
    log.info("operator_scaled", deployment=deployment, replicas=replicas, before=before.get("replicas", 0))
    return int(before.get("replicas", 0))


def _describe(failures: dict[PolicyKey, str]) -> str:
    shown = [f"{key}: {problem}" for key, problem in sorted(failures.items())[:_LISTED_FAILURES]]
    more = len(failures) - len(shown)
    lines = "\n  ".join([*shown, f"and {more} more"] if more else shown)
    return f"{len(failures)} policies still hold their targets; correct the causes and repeat the command:\n  {lines}"
