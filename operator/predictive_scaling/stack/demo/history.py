"""Loads weeks of history with its events through the same pipeline as live samples, and trains a model on it."""

import asyncio
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.cluster.informer_cache import EventRecord
from predictive_scaling.control.jobs.event_history import EventHistoryRecorder
from predictive_scaling.errors import StackError
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.stack.demo import manifests
from predictive_scaling.stack.demo.demand_producer import DemandProducer
from predictive_scaling.stack.demo.processes import PROGRAM, Product
from predictive_scaling.stack.demo.scenario import METRIC, SERVICE, DemoScenario
from predictive_scaling.stack.demo.workload import MINUTE
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify
from predictive_scaling.storage.business_events import BusinessEvents
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies, PolicyRow

_STORED_SECONDS = 60.0
_POLL_SECONDS = 0.2
_NEVER = 1e12
"""A reading of the monotonic clock that is never reached: the clock is stopped until the replay begins."""


async def load_history(
    scenario: DemoScenario, until: datetime, product: Product, producer: DemandProducer, notify: Notify
) -> float:
    """Store the demand before `until` in the database; train and publish a model. Raises StackError on failure.

    Returns the seconds that `migrate` took: the cost of starting a process of the product on this machine.
    """
    clock = ReplayClock(until, _NEVER, 1.0)
    started_at = monotonic()
    await run_command(product, clock, "migrate")
    start_seconds = monotonic() - started_at
    ingest = product.ingest(clock)
    started_at = monotonic()
    await ingest.start()
    try:
        await _record_events(scenario, until, product)
        sent = await producer.history(scenario, until)
        await _wait_until_stored(scenario.samples(until - timedelta(days=1), until)[-1][0], product)
    finally:
        await ingest.stop()
    notify(f"{sent:,} minutes of history went through Kafka into PostgreSQL in {monotonic() - started_at:.1f} s")
    started_at = monotonic()
    await run_command(product, clock, "train")
    notify(f"trained in {monotonic() - started_at:.1f} s")
    return start_seconds


async def run_command(product: Product, clock: ReplayClock, *arguments: str) -> str:
    """Run a command of the product to its end. Raises StackError with its output when it fails."""
    purpose = f"predictive-scaling {' '.join(arguments)}"
    return await run(*PROGRAM, *arguments, environment=product.environment(clock), purpose=purpose)


async def _record_events(scenario: DemoScenario, now: datetime, product: Product) -> None:
    """Record the policy and the earlier matches as the operator would have recorded them while they took place."""
    policy = parse_policy(manifests.policy(scenario))
    events = [parse_event(manifests.event(match)) for match in scenario.earlier]
    records = [
        EventRecord(event.metadata.namespace, event.metadata.name, event.metadata.name, 1, 1, now, {}, event)
        for event in events
    ]
    matched = {record.uid: (policy.key,) for record in records}
    async with Database(product.stack.database_url, purpose="demo", max_size=1) as database:
        await Policies(database).record([_policy_row(policy, now)])
        await EventHistoryRecorder(BusinessEvents(database)).record(records, matched, [manifests.NAMESPACE], now)


def _policy_row(policy: ScalingPolicy, now: datetime) -> PolicyRow:
    spec = policy.spec
    return PolicyRow(
        namespace=policy.metadata.namespace,
        policy=policy.metadata.name,
        service_name=policy.service,
        metric_name=spec.demand.metric,
        aggregation=spec.demand.aggregation.value,
        mode=spec.mode.value,
        target=str(spec.target),
        min_replicas=spec.replicas.min,
        max_replicas=spec.replicas.max,
        floor=None,
        current_replicas=None,
        ready_replicas=None,
        source=None,
        limited=False,
        conditions=[],
        last_decision_at=None,
        advice=None,
        forecast=None,
        updated_at=now,
    )


async def _wait_until_stored(newest: datetime, product: Product) -> None:
    until = monotonic() + _STORED_SECONDS
    async with Database(product.stack.database_url, purpose="demo", max_size=1) as database:
        demand, key = Demand(database), SeriesKey(SERVICE, METRIC)
        while monotonic() < until:
            demand_by_key = await demand.minutes([key], newest, newest + MINUTE)
            if np.isfinite(demand_by_key[key]).all():
                return
            await asyncio.sleep(_POLL_SECONDS)
    raise StackError(f"the history was not in the database after {_STORED_SECONDS:g} s; see ingest.log")
