"""Inputs of a tuning: a policy, its demand by minute, and recorded forecasts."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from forecasting.series import FloatArray, Series
from predictive_scaling.resources.scaling_policy import ScalingPolicy
from predictive_scaling.tuning.recent import RECORDED, RecordedRows
from predictive_scaling.tuning.task import Task
from tests.support.builders import NOON, a_policy
from tests.support.demand_series import a_shape

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
OBJECTIVE = {"objective": {"underProvisionedMinute": "1", "replicaHour": "0.5"}}
_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


def some_minutes(days: float = 8, seed: int = 3) -> FloatArray:
    """Return a demand with daily seasonality and bursts of at least ten minutes: higher quantiles are short less."""
    minutes = round(days * DAY / MINUTE)
    heights = np.exp(np.random.default_rng(seed).normal(0, 0.35, -(-minutes // 20)))
    bursts = np.convolve(np.repeat(heights, 20)[:minutes], np.ones(8) / 8, "same")
    return a_shape(minutes, MINUTE, seed, 0.03) * bursts


def a_task(policy: ScalingPolicy | None = None, minutes: FloatArray | None = None, **changes: Any) -> Task:
    """Return the tuning of shop/checkout at noon, without recorded forecasts and excluded times."""
    policy = policy or a_policy(forecast=OBJECTIVE)
    minutes = some_minutes() if minutes is None else minutes
    fields: dict[str, Any] = {
        "policy": {
            "metadata": {"name": policy.metadata.name, "namespace": policy.metadata.namespace},
            "spec": policy.spec.to_manifest(),
        },
        "per_replica": float(np.nanmax(minutes) / 30),
        "hpa_target": 0.7,
        "maximum": 50,
        "lead_time_seconds": 180.0,
        "begins_at": NOON - len(minutes) * MINUTE,
        "minutes": minutes.astype(np.float32).tobytes(),
        "recorded": b"",
        "unjudged": (),
        "now": NOON,
    }
    return Task(**fields | changes)


def recorded(
    creation_times: Sequence[datetime], demands: Sequence[float], step: timedelta = 5 * MINUTE, peak: float = math.nan
) -> RecordedRows:
    """Return the same forecast for each time: all quantiles are the demand of the bin. peak: of every window."""
    rows = [
        (_microseconds(at), _microseconds(at + index * step), (demand,) * 5, (peak,) * 4)
        for at in creation_times
        for index, demand in enumerate(demands)
    ]
    return np.array(rows, RECORDED)


def in_bins(minutes: FloatArray, step: timedelta = 5 * MINUTE) -> Series:
    """Return means of complete bins that end at noon."""
    width = step // MINUTE
    return Series("checkout", NOON - len(minutes) * MINUTE, step, minutes.reshape(-1, width).mean(axis=1))


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
