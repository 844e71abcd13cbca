"""Two months of history by the same way that live samples take, and a model that learned from it."""

import asyncio
from datetime import datetime, timedelta

import numpy as np

from predictive_scaling.clock import ReplayClock, monotonic
from predictive_scaling.errors import StackError
from predictive_scaling.stack.demo.feed import Feed
from predictive_scaling.stack.demo.processes import PROGRAM, Product
from predictive_scaling.stack.demo.scenario import METRIC, SERVICE, DemoScenario
from predictive_scaling.stack.demo.traces import MINUTE
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Say
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand, DemandKey

_STORED_SECONDS = 60.0
_POLL_SECONDS = 0.2
_NEVER = 1e12
"""A second of the monotonic clock that does not come: time stands still until the replay begins."""


async def remember(scenario: DemoScenario, until: datetime, product: Product, feed: Feed, say: Say) -> float:
    """Everything before `until` is in the database, and a model is published. Raises StackError when that fails.

    Returns how many seconds the smallest of the product's commands took: what starting something costs here.
    """
    clock = ReplayClock(until, _NEVER, 1.0)
    began = monotonic()
    await run_command(product, clock, "migrate")
    start_seconds = monotonic() - began
    ingest = product.ingest(clock)
    began = monotonic()
    await ingest.start()
    try:
        sent = await feed.history(scenario, until)
        await _stored(scenario.samples(until - timedelta(days=1), until)[-1][0], product)
    finally:
        await ingest.stop()
    say(f"{sent:,} minutes of history went through Kafka into PostgreSQL in {monotonic() - began:.1f} s")
    began = monotonic()
    await run_command(product, clock, "train")
    say(f"trained in {monotonic() - began:.1f} s")
    return start_seconds


async def run_command(product: Product, clock: ReplayClock, *arguments: str) -> str:
    """One of the product's commands, to its end. Raises StackError with what it printed when it fails."""
    told = f"predictive-scaling {' '.join(arguments)}"
    return await run(*PROGRAM, *arguments, environment=product.environment(clock), told=told)


async def _stored(newest: datetime, product: Product) -> None:
    until = monotonic() + _STORED_SECONDS
    async with Database(product.stack.database_url, purpose="demo", max_size=1) as database:
        demand, key = Demand(database), DemandKey(SERVICE, METRIC)
        while monotonic() < until:
            found = await demand.minutes([key], newest, newest + MINUTE)
            if np.isfinite(found[key]).all():
                return
            await asyncio.sleep(_POLL_SECONDS)
    raise StackError(f"the history was not in the database after {_STORED_SECONDS:g} s; see ingest.log")
