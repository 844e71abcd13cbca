"""The demo from start to verdict; every step is undone in reverse, also after an error."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import yaml
from rich.console import Console

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.external_metrics.documents import GROUP, VERSION
from predictive_scaling.resources import crd
from predictive_scaling.stack.components import ClusterOptions
from predictive_scaling.stack.demo import manifests
from predictive_scaling.stack.demo.demand_producer import DemandProducer
from predictive_scaling.stack.demo.history import load_history
from predictive_scaling.stack.demo.manifests import HPA_DOWN_WINDOW, HPA_SYNC, Pace
from predictive_scaling.stack.demo.observe import Observer, observing
from predictive_scaling.stack.demo.processes import MODELS, Product, choose_ports
from predictive_scaling.stack.demo.replay import RunningDemo, replay
from predictive_scaling.stack.demo.replay_record import ReplayRecord
from predictive_scaling.stack.demo.scenario import POD_START, DemoScenario, make_scenario
from predictive_scaling.stack.demo.workload import generated_workload, recorded_workload
from predictive_scaling.stack.operator_account import operator_kubeconfig
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.ports import LOOPBACK
from predictive_scaling.stack.processes import Child
from predictive_scaling.stack.progress import Notify
from predictive_scaling.stack.stack import Stack

PARTS = (Part.KUBERNETES, Part.POSTGRESQL, Part.REDIS, Part.KAFKA)
WARM_UP = timedelta(minutes=40)
"""Demo time before the measured window, in which everything starts and both HPAs settle."""
_MIN_START_SECONDS = 15.0
"""Real time in which the operator and the API start, while the demo clock is stopped."""
_STARTS = 6
"""How many times as long as `migrate` they take: they import more, and the operator probes the model in a child."""
_POLL_SECONDS = 0.2
_METRICS_SERVICE = "external-metrics"
_SYSTEM_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    day: date | None
    """The default day of the workload if None."""
    rate: float
    recorded: tuple[Path, Path] | None
    """The files of recorded demand and its matches; both are generated if None."""
    output: Path
    keep: bool = False
    """Leave everything running at the end, until Ctrl-C."""


async def run_demo(
    options: Options, console: Console, notify: Notify, on_finish: Callable[[ReplayRecord, Stack], Awaitable[None]]
) -> ReplayRecord:
    """Run the demo. `on_finish` receives the record and the stack, which still runs then.

    Raises StackError when a part does not start or the product is not ready in time.
    """
    workload = generated_workload() if options.recorded is None else recorded_workload(*options.recorded)
    scenario = make_scenario(workload, options.day)
    pace = Pace(options.rate)
    async with Stack(PARTS, cluster=_cluster(pace), notify=notify) as stack:
        product = await _prepare_product(stack, options.output, notify)
        async with AsyncExitStack() as cleanups:
            producer = await cleanups.enter_async_context(DemandProducer(stack.kafka_bootstrap_servers))
            start_seconds = await load_history(scenario, scenario.begins_at - WARM_UP, product, producer, notify)
            await stack.kubernetes.apply(_workload_manifests(scenario, pace), "workloads")
            clock = ReplayClock(
                scenario.begins_at - WARM_UP,
                monotonic() + max(_MIN_START_SECONDS, _STARTS * start_seconds),
                options.rate,
            )
            sending = await cleanups.enter_async_context(_sending_demand(producer, scenario, clock))
            children = [product.ingest(clock), product.operator(clock), product.api(clock)]
            await cleanups.enter_async_context(_running(children, notify))
            api_url = f"http://{LOOPBACK}:{product.ports.api}"
            observer = await cleanups.enter_async_context(observing(stack.kubeconfig, api_url))
            await _wait_until_ready(observer, clock, scenario.begins_at, notify)
            demo = RunningDemo(scenario, clock, observer, sending, stack.database_url, tuple(children))
            record = await replay(demo, console, notify)
            await on_finish(record, stack)
    return record


def _cluster(pace: Pace) -> ClusterOptions:
    return ClusterOptions(
        hpa_sync_period=timedelta(seconds=pace.seconds(HPA_SYNC)),
        hpa_downscale_stabilization=timedelta(seconds=pace.seconds(HPA_DOWN_WINDOW)),
        pod_ready_delay=timedelta(seconds=pace.seconds(POD_START)),
        requests_per_second=1000,
    )


async def _prepare_product(stack: Stack, output: Path, notify: Notify) -> Product:
    """Install the CRDs, the external metrics API, the namespace and the operator's account; empty the output folder."""
    folder = _clean_output(output)
    cluster, ports = stack.kubernetes, choose_ports()
    await cluster.apply([yaml.safe_load(text) for text in crd.files().values()], "crds")
    await cluster.kubectl("wait", "--for=condition=Established", "--timeout=120s", *_crd_names())
    await cluster.serve_api(GROUP, VERSION, _METRICS_SERVICE, _SYSTEM_NAMESPACE, ports.external_metrics)
    await cluster.apply([manifests.namespace()], "namespace")
    notify("the cluster serves ScalingPolicy, BusinessEvent and ScalingDecision")
    certificate = cluster.serving_certificate(_METRICS_SERVICE, _SYSTEM_NAMESPACE)
    kubeconfig = await operator_kubeconfig(cluster, _SYSTEM_NAMESPACE)
    return Product(stack, ports, folder, certificate, kubeconfig)


def _clean_output(output: Path) -> Path:
    """Remove the files of an earlier demo from the folder; other files stay."""
    output.mkdir(parents=True, exist_ok=True)
    for old in (*output.glob("*.log"), output / "report.html", output / "result.json"):
        old.unlink(missing_ok=True)
    shutil.rmtree(output / MODELS, ignore_errors=True)
    return output.resolve()


def _crd_names() -> list[str]:
    return [f"crd/{yaml.safe_load(text)['metadata']['name']}" for text in crd.files().values()]


def _workload_manifests(scenario: DemoScenario, pace: Pace) -> list[manifests.Manifest]:
    return [
        *(
            part
            for name in (manifests.HPA_ONLY, manifests.PREDICTIVE)
            for part in manifests.deployment_with_hpa(name, scenario, pace)
        ),
        manifests.policy(scenario),
        *(manifests.event(match) for match in (*scenario.earlier, *scenario.matches)),
    ]


@asynccontextmanager
async def _running(children: list[Child], notify: Notify) -> AsyncGenerator[None]:
    try:
        await asyncio.gather(*(child.start() for child in children))
        notify(f"{', '.join(child.name for child in children)} are running")
        yield
    finally:
        await asyncio.gather(*(child.stop() for child in children))


@asynccontextmanager
async def _sending_demand(
    producer: DemandProducer, scenario: DemoScenario, clock: ReplayClock
) -> AsyncGenerator[asyncio.Task[None]]:
    """Send the demand from the clock's start on, in the background."""
    sending = asyncio.create_task(producer.replay(scenario, clock.start, clock), name="demand")
    try:
        yield sending
    finally:
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending


async def _wait_until_ready(observer: Observer, clock: ReplayClock, until: datetime, notify: Notify) -> None:
    """Wait until the policy is ready and both HPAs read their metric.

    Raises StackError naming the missing part when the window begins first.
    """
    missing = "the operator has not reconciled the policy"
    while clock.now() < until:
        conditions = await observer.conditions()
        waiting = [name for name in ("Ready", "ForecastReady") if conditions.get(name) != "True"]
        if not waiting and await observer.hpas_read_metric():
            notify("the policy is Ready and has a forecast; both HPAs read their metric")
            return
        missing = f"the policy is not {' and not '.join(waiting)}" if waiting else "an HPA gets no metric"
        await asyncio.sleep(_POLL_SECONDS)
    raise StackError(
        f"the replay began and {missing}; see operator.log in the output folder. On a busy machine: a lower --rate"
    )
