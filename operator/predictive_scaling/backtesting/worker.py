"""Child process that runs one backtest: the task on stdin, its outcome on stdout, the report into the database."""

import asyncio
import hashlib
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

import msgspec

from forecasting.scaling.frontier import Prices
from predictive_scaling import __version__
from predictive_scaling.backtesting.reporting.page import page
from predictive_scaling.backtesting.reporting.strategies import relative_hours, strategies
from predictive_scaling.backtesting.reporting.summary import assumptions, gain
from predictive_scaling.backtesting.run import Backtest, Options, run
from predictive_scaling.backtesting.task import (
    ENCODE,
    TASK_DECODER,
    BacktestTask,
    Deferred,
    Failed,
    Finished,
    Outcome,
    Result,
    ResultRow,
)
from predictive_scaling.backtesting.traces.recorded import Trace
from predictive_scaling.backtesting.traces.regressors import RecordedRegressor, stored_regressors
from predictive_scaling.backtesting.traces.stored import stored_trace
from predictive_scaling.errors import (
    DatabaseUnavailableError,
    InvalidManifestError,
    InvalidTraceError,
    SchemaError,
)
from predictive_scaling.resources.business_event import parse_event
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import BacktestReason
from predictive_scaling.settings import read_settings
from predictive_scaling.storage.backtests import BacktestResults
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.schema import check_schema

_PARENT_CHECK_SECONDS = 0.5
_RECORD_ATTEMPTS, _RECORD_PAUSE_SECONDS = 10, 6.0
"""A result of minutes of work is not given up because of a short outage of the database."""


def main() -> None:
    """Read a task from stdin, and write its outcome to stdout. The process ends with its parent."""
    outcome_stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries may print
    task = TASK_DECODER.decode(sys.stdin.buffer.read())
    threading.Thread(target=_end_with_parent, args=(task.parent,), daemon=True).start()
    limit_memory(task.memory_bytes)
    outcome = run_task(task, read_settings().database_url.get_secret_value())
    outcome_stream.write(ENCODE(outcome))
    outcome_stream.close()


def run_task(task: BacktestTask, database_url: str) -> Outcome:
    """Return the outcome of a task; a result is in the database by then. Never raises for its input."""
    try:
        return asyncio.run(_outcome(task, database_url))
    except (DatabaseUnavailableError, SchemaError) as error:
        # A large result that does not fit into the memory of this process is reported as an error of the connection.
        return _out_of_memory(task) if "out of memory" in str(error) else Deferred(str(error))
    except InvalidTraceError as error:
        return Failed(BacktestReason.INVALID_TRACE, str(error))
    except InvalidManifestError as error:
        return Failed(BacktestReason.INVALID_BACKTEST, str(error))
    except MemoryError:
        return _out_of_memory(task)


async def _outcome(task: BacktestTask, database_url: str) -> Outcome:
    policy = parse_policy(task.policy)
    demand = policy.spec.demand
    key = SeriesKey(policy.service, demand.metric, demand.aggregation)
    async with Database(database_url, purpose="backtest", max_size=1) as database:
        await check_schema(database)
        trace = await stored_trace(database, key, task.since, task.until, zero_is_valid=demand.zero_is_valid)
        if trace is None:
            return Failed(
                BacktestReason.NO_DATA,
                f"{key} has no demand from {task.since:%Y-%m-%dT%H:%MZ} to {task.until:%Y-%m-%dT%H:%MZ}; check the "
                "span, and service, metric and aggregation of the policy's demand",
            )
        regressors = await stored_regressors(database, policy.spec.forecast.regressors, task.since, task.until)
        input_hash = hash_of(task, trace, regressors)
        known = await BacktestResults(database).result(input_hash)
    if known is not None:
        return Finished(msgspec.convert(known, Result), input_hash, reused=True)
    backtest = _run(task, policy, trace, regressors)
    finished = Finished(result_of(backtest), input_hash, reused=False)
    await _record(finished, page(backtest), task, database_url)
    return finished


def hash_of(task: BacktestTask, trace: Trace, regressors: Sequence[RecordedRegressor] = ()) -> str:
    """Return the hash of everything that the result of a task depends on."""
    begin = trace.series.start
    relevant = msgspec.structs.replace(task, since=begin, until=begin, memory_bytes=0, parent=0, now=begin)
    digest = hashlib.sha256(__version__.encode())
    digest.update(msgspec.json.encode(relevant, order="deterministic"))
    digest.update(trace.series.values.tobytes())
    for regressor in regressors:
        digest.update(regressor.series.start.isoformat().encode() + regressor.series.values.tobytes())
    return digest.hexdigest()


def result_of(backtest: Backtest) -> Result:
    """Return the table of a backtest with its summary."""
    comparison = backtest.comparison
    policy, hpa_only = comparison.predictive, comparison.hpa_only
    ratio = relative_hours(backtest, policy)
    return Result(
        rows=tuple(
            ResultRow(
                variant=strategy.variant,
                name=strategy.name.strip(),
                quantile=strategy.quantile,
                hpa_target=strategy.target,
                under_provisioned_share=strategy.outcome.under_provisioned_share,
                under_provisioned_minutes=strategy.outcome.minutes,
                lost_demand_share=strategy.outcome.lost_demand_share,
                replica_hours=strategy.outcome.replica_hours,
                hours_ratio=relative_hours(backtest, strategy.outcome),
            )
            for strategy in strategies(backtest)
        ),
        summary=f"{policy.minutes:,.0f} min short (HPA {hpa_only.minutes:,.0f}) at {ratio:.2f} of its hours",
        message=f"{gain(backtest)}. Assumptions: {assumptions(backtest)}. Advice: {backtest.advice.message}",
    )


def _run(task: BacktestTask, policy: ScalingPolicy, trace: Trace, regressors: Sequence[RecordedRegressor]) -> Backtest:
    options = Options(
        split=task.training_share,
        lead_time=None if task.lead_time_seconds is None else timedelta(seconds=task.lead_time_seconds),
        quantiles=task.quantiles,
        prices=tuple(Prices(*pair) for pair in task.prices),
        live=task.live,
    )
    return run(trace, policy, tuple(map(parse_event, task.events)), options, lambda _stage, _share: None, regressors)


async def _record(finished: Finished, report: str, task: BacktestTask, database_url: str) -> None:
    result = msgspec.to_builtins(finished.result)
    for attempt in range(_RECORD_ATTEMPTS):
        try:
            async with Database(database_url, purpose="backtest", max_size=1) as database:
                await BacktestResults(database).record(finished.input_hash, result, report, task.now)
            return
        except DatabaseUnavailableError:
            if attempt == _RECORD_ATTEMPTS - 1:
                raise
            await asyncio.sleep(_RECORD_PAUSE_SECONDS)


def _out_of_memory(task: BacktestTask) -> Failed:
    return Failed(
        BacktestReason.OUT_OF_MEMORY,
        f"the backtest needs more than {task.memory_bytes / 2**20:.0f} MiB; choose a shorter span, or raise "
        "PREDICTIVE_SCALING_BACKTEST_MEMORY_MIB",
    )


def limit_memory(limit: int) -> None:
    """Limit the memory that this process can allocate, in bytes; beyond it MemoryError is raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounded = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bounded, hard))


def _end_with_parent(parent: int) -> None:
    """End this process when its parent ends, even if the parent was killed."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
