"""Seconds and memory of training, batches of forecasts and decisions, on synthetic series for comparable runs."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from forecasting.models.holt_winters import HoltWinters
from forecasting.models.lightgbm_quantiles import MEMORY, FittedLightGBM, LightGBMQuantiles
from forecasting.series import Series
from predictive_scaling.clock import monotonic
from predictive_scaling.decision.decide import decide
from tests.bench.traces import STEP, Say
from tests.support.builders import a_situation
from tests.support.demand_series import MONDAY, a_shape

TRAINED_DAYS = 60
STEPS_AHEAD = 12
_REPEATS = 3
_THREADS = 2
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Training:
    """Seconds for one series of TRAINED_DAYS at 5 minutes, all quantiles, in two threads; and Holt-Winters on it."""

    seconds: float
    holt_winters_seconds: float


@dataclass(frozen=True, slots=True)
class BatchRun:
    """`count` series, STEPS_AHEAD bins, all quantiles, one shared model. added_mb: peak memory minus memory before."""

    count: int
    seconds: float
    peak_mb: float
    added_mb: float


@dataclass(frozen=True, slots=True)
class DecisionTimes:
    """Consecutive decisions, each of a different situation."""

    count: int
    seconds: float


def measure_training(say: Say) -> tuple[Training, FittedLightGBM]:
    """Measure the training; return the measurement and the model for the batches."""
    say("speed: training")
    series = _synthetic_series(TRAINED_DAYS, seed=1)
    started_at = monotonic()
    model = LightGBMQuantiles(threads=_THREADS).fit(series)
    trained_at = monotonic()
    HoltWinters().fit(series)
    return Training(trained_at - started_at, monotonic() - trained_at), model


def measure_batches(model: FittedLightGBM, counts: Sequence[int], say: Say) -> list[BatchRun]:
    """Measure each batch in a new process, so that memory of one batch does not hide that of another."""
    runs: list[BatchRun] = []
    for count in counts:
        say(f"speed: forecasting {count:,} series")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            runs.append(pool.submit(_batch, model.texts(), model.columns, count).result())
    return runs


def measure_decisions(counts: Sequence[int], say: Say) -> list[DecisionTimes]:
    """Measure the decisions of one tick, for each number of policies."""
    measurements: list[DecisionTimes] = []
    for count in counts:
        say(f"speed: {count:,} decisions")
        situations = [
            a_situation(floor=4 + at % 9, forecast=300.0 + at % 700, demand=250.0 + at % 500) for at in range(count)
        ]
        started_at = monotonic()
        for situation in situations:
            decide(situation)
        measurements.append(DecisionTimes(count, monotonic() - started_at))
    return measurements


def _batch(texts: dict[str, str], columns: tuple[int, ...], count: int) -> BatchRun:
    model = FittedLightGBM.from_texts(texts, columns, "bench")
    days = MEMORY / timedelta(days=1)
    series = [_synthetic_series(days, seed) for seed in range(count)]
    model.forecast_batch(series[:1], STEPS_AHEAD)
    # Reset the peak that Linux counts.
    _RESET.write_text("5")
    before = _peak_mb()
    seconds: list[float] = []
    for _ in range(_REPEATS):
        started_at = monotonic()
        model.forecast_batch(series, STEPS_AHEAD)
        seconds.append(monotonic() - started_at)
    peak = _peak_mb()
    return BatchRun(count, min(seconds), peak, peak - before)


def _synthetic_series(days: float, seed: int) -> Series:
    return Series(f"series {seed}", MONDAY, STEP, a_shape(round(days * timedelta(days=1) / STEP), STEP, seed, 0.15))


def _peak_mb() -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
