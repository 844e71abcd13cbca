"""Seconds and memory: training, batches of forecasts, decisions. Made series, so that every run measures the same."""

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
    """`count` series, STEPS_AHEAD bins, all quantiles, one shared model. added_mb: peak above what was there before."""

    count: int
    seconds: float
    peak_mb: float
    added_mb: float


@dataclass(frozen=True, slots=True)
class Deciding:
    """Decisions one after another, each of another situation."""

    count: int
    seconds: float


def training(say: Say) -> tuple[Training, FittedLightGBM]:
    """The measurement, and the model for the batches."""
    say("speed: training")
    series = _made(TRAINED_DAYS, seed=1)
    began = monotonic()
    model = LightGBMQuantiles(threads=_THREADS).fit(series)
    between = monotonic()
    HoltWinters().fit(series)
    return Training(between - began, monotonic() - between), model


def batches(model: FittedLightGBM, counts: Sequence[int], say: Say) -> list[BatchRun]:
    """Each in a fresh process, so that one's memory does not hide another's."""
    found: list[BatchRun] = []
    for count in counts:
        say(f"speed: forecasting {count:,} series")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found.append(pool.submit(_batch, model.texts(), model.columns, count).result())
    return found


def deciding(counts: Sequence[int], say: Say) -> list[Deciding]:
    """Seconds for so many policies in one tick."""
    found: list[Deciding] = []
    for count in counts:
        say(f"speed: {count:,} decisions")
        asked = [
            a_situation(floor=4 + at % 9, forecast=300.0 + at % 700, demand=250.0 + at % 500) for at in range(count)
        ]
        began = monotonic()
        for situation in asked:
            decide(situation)
        found.append(Deciding(count, monotonic() - began))
    return found


def _batch(texts: dict[str, str], columns: tuple[int, ...], count: int) -> BatchRun:
    model = FittedLightGBM.from_texts(texts, columns, "bench")
    days = MEMORY / timedelta(days=1)
    series = [_made(days, seed) for seed in range(count)]
    model.forecast_batch(series[:1], STEPS_AHEAD)
    # Linux starts counting the peak anew.
    _RESET.write_text("5")
    before = _peak_mb()
    took: list[float] = []
    for _ in range(_REPEATS):
        began = monotonic()
        model.forecast_batch(series, STEPS_AHEAD)
        took.append(monotonic() - began)
    peak = _peak_mb()
    return BatchRun(count, min(took), peak, peak - before)


def _made(days: float, seed: int) -> Series:
    return Series(f"series {seed}", MONDAY, STEP, a_shape(round(days * timedelta(days=1) / STEP), STEP, seed, 0.15))


def _peak_mb() -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
