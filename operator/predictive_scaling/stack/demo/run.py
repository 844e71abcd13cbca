"""The demo from an empty machine to a verdict: each step is real, and is ended in reverse whatever happens."""

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
from predictive_scaling.stack.demo.feed import Feed
from predictive_scaling.stack.demo.history import remember
from predictive_scaling.stack.demo.manifests import HPA_DOWN_WINDOW, HPA_SYNC, Pace
from predictive_scaling.stack.demo.observe import Observer, observing
from predictive_scaling.stack.demo.processes import MODELS, Product, choose_ports
from predictive_scaling.stack.demo.replay import Stage, replay
from predictive_scaling.stack.demo.scenario import POD_START, DemoScenario, make_scenario
from predictive_scaling.stack.demo.story import Story
from predictive_scaling.stack.ports import LOOPBACK
from predictive_scaling.stack.processes import Child
from predictive_scaling.stack.progress import Say
from predictive_scaling.stack.stack import Part, Stack

PARTS = (Part.KUBERNETES, Part.POSTGRESQL, Part.REDIS, Part.KAFKA)
WARM_UP = timedelta(minutes=40)
"""Of the demo's time, before what is measured: everything starts, and both HPAs find their level."""
_MIN_START_SECONDS = 15.0
"""In which the operator and the API start, while the demo's clock stands still."""
_STARTS = 6
"""They import more than `migrate`, and the operator probes the model in a process of its own."""
_POLL_SECONDS = 0.2
_METRICS_SERVICE = "external-metrics"
_METRICS_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    day: date
    rate: float
    traces: Path
    output: Path
    keep: bool = False
    """Leave everything running at the end, until Ctrl-C."""


async def demonstrate(
    options: Options, console: Console, say: Say, told: Callable[[Story, Stack], Awaitable[None]]
) -> Story:
    """The whole demo. `told` is given the story, and the stack it happened on, while that still runs.

    Raises StackError when a part does not start or the product is not ready in time.
    """
    scenario = make_scenario(options.day, options.traces)
    pace = Pace(options.rate)
    async with Stack(PARTS, cluster=_cluster(pace), say=say) as stack:
        product = await _prepared(stack, options.output, say)
        async with AsyncExitStack() as ends:
            feed = await ends.enter_async_context(Feed(stack.kafka_bootstrap_servers))
            start_seconds = await remember(scenario, scenario.begins_at - WARM_UP, product, feed, say)
            await stack.kubernetes.apply(_twins(scenario, pace), "twins")
            clock = ReplayClock(
                scenario.begins_at - WARM_UP,
                monotonic() + max(_MIN_START_SECONDS, _STARTS * start_seconds),
                options.rate,
            )
            feeding = await ends.enter_async_context(_feeding(feed, scenario, clock))
            children = [product.ingest(clock), product.operator(clock), product.api(clock)]
            await ends.enter_async_context(_running(children, say))
            api_url = f"http://{LOOPBACK}:{product.ports.api}"
            observer = await ends.enter_async_context(observing(stack.kubeconfig, api_url))
            await _ready(observer, clock, scenario.begins_at, say)
            stage = Stage(scenario, clock, observer, feeding, stack.database_url, tuple(children))
            story = await replay(stage, console, say)
            await told(story, stack)
    return story


def _cluster(pace: Pace) -> ClusterOptions:
    return ClusterOptions(
        hpa_sync_period=timedelta(seconds=pace.seconds(HPA_SYNC)),
        hpa_downscale_stabilization=timedelta(seconds=pace.seconds(HPA_DOWN_WINDOW)),
        pod_ready_delay=timedelta(seconds=pace.seconds(POD_START)),
        requests_per_second=1000,
    )


async def _prepared(stack: Stack, output: Path, say: Say) -> Product:
    """The cluster knows our kinds and where the HPAs' metric comes from; the folder is empty."""
    folder = _emptied(output)
    cluster, ports = stack.kubernetes, choose_ports()
    await cluster.apply([yaml.safe_load(text) for text in crd.files().values()], "crds")
    await cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *_crd_names())
    await cluster.serve_api(GROUP, VERSION, _METRICS_SERVICE, _METRICS_NAMESPACE, ports.external_metrics)
    await cluster.apply([manifests.namespace()], "namespace")
    say("the cluster knows ScalingPolicy, BusinessEvent and ScalingDecision")
    certificate = cluster.serving_certificate(_METRICS_SERVICE, _METRICS_NAMESPACE)
    return Product(stack, ports, folder, certificate)


def _emptied(output: Path) -> Path:
    """The folder without what an earlier demo left in it; anything else that someone keeps there stays."""
    output.mkdir(parents=True, exist_ok=True)
    for old in (*output.glob("*.log"), output / "report.html", output / "result.json"):
        old.unlink(missing_ok=True)
    shutil.rmtree(output / MODELS, ignore_errors=True)
    return output.resolve()


def _crd_names() -> list[str]:
    return [f"crd/{yaml.safe_load(text)['metadata']['name']}" for text in crd.files().values()]


def _twins(scenario: DemoScenario, pace: Pace) -> list[manifests.Manifest]:
    return [
        *(part for name in (manifests.HPA_ONLY, manifests.PREDICTIVE) for part in manifests.twin(name, scenario, pace)),
        manifests.policy(scenario),
        *(manifests.past_event(match) for match in scenario.earlier),
        *(manifests.coming_event(match) for match in scenario.matches),
    ]


@asynccontextmanager
async def _running(children: list[Child], say: Say) -> AsyncGenerator[None]:
    try:
        await asyncio.gather(*(child.start() for child in children))
        say(f"{', '.join(child.name for child in children)} are running")
        yield
    finally:
        await asyncio.gather(*(child.stop() for child in children))


@asynccontextmanager
async def _feeding(feed: Feed, scenario: DemoScenario, clock: ReplayClock) -> AsyncGenerator[asyncio.Task[None]]:
    """Demand goes in from the clock's start on, whether or not anyone looks."""
    feeding = asyncio.create_task(feed.replay(scenario, clock.start, clock), name="demand")
    try:
        yield feeding
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding


async def _ready(observer: Observer, clock: ReplayClock, until: datetime, say: Say) -> None:
    """Wait until the policy and the HPAs work. Raises StackError saying what is missing, once the window begins."""
    missing = "the operator has not visited the policy"
    while clock.now() < until:
        conditions = await observer.conditions()
        waiting = [name for name in ("Ready", "ForecastReady") if conditions.get(name) != "True"]
        if not waiting and await observer.metrics_arrive():
            say("the policy is Ready and has a forecast; both HPAs read their metric")
            return
        missing = f"the policy is not {' and not '.join(waiting)}" if waiting else "an HPA gets no metric"
        await asyncio.sleep(_POLL_SECONDS)
    raise StackError(
        f"the replay began and {missing}; see operator.log in the output folder. On a busy machine: a lower --rate"
    )
