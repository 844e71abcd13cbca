"""Input and outcome of a backtest in a child process: plain values."""

from datetime import datetime
from typing import Any

import msgspec

from predictive_scaling.backtesting.assumptions import LiveValues
from predictive_scaling.resources.vocabulary import BacktestReason, BacktestVariant


class BacktestTask(msgspec.Struct, frozen=True):
    """A policy and the demand that is replayed through it.

    policy, events: manifests. since, until: the demand, read from the database. prices: pairs of the price of a minute
    short and of a replica-hour. lead_time_seconds: None uses the policy's. live: for what neither policy nor
    backtest states. memory_bytes: limit of the child process. parent: process id of the operator, with which the child
    ends.
    """

    policy: dict[str, Any]
    events: tuple[dict[str, Any], ...]
    since: datetime
    until: datetime
    training_share: float
    quantiles: tuple[float, ...]
    prices: tuple[tuple[float, float], ...]
    lead_time_seconds: float | None
    live: LiveValues
    memory_bytes: int
    parent: int
    now: datetime


class ResultRow(msgspec.Struct, frozen=True):
    """The outcome of a strategy. quantile: None without a floor from forecasts. Shares, targets and ratios are
    fractions.
    """

    variant: BacktestVariant
    name: str
    quantile: float | None
    hpa_target: float
    under_provisioned_share: float
    under_provisioned_minutes: float
    lost_demand_share: float
    replica_hours: float
    hours_ratio: float


class Result(msgspec.Struct, frozen=True):
    """The table of a backtest, its result in a few words, and in sentences with the assumptions."""

    rows: tuple[ResultRow, ...]
    summary: str
    message: str


class Finished(msgspec.Struct, frozen=True, tag=True):
    """A result. reused: whether an earlier backtest with the same input computed it."""

    result: Result
    input_hash: str
    reused: bool


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A backtest that failed, and would fail again with the same input."""

    reason: BacktestReason
    message: str


class Deferred(msgspec.Struct, frozen=True, tag=True):
    """A backtest that could not run, because the database did not respond."""

    message: str


Outcome = Finished | Failed | Deferred

TASK_DECODER = msgspec.msgpack.Decoder(BacktestTask)
OUTCOME_DECODER = msgspec.msgpack.Decoder(Outcome)
ENCODE = msgspec.msgpack.Encoder().encode
