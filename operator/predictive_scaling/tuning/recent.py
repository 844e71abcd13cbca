"""The forecasts of the last days at regular origins: as they were recorded, and before that as a newcomer's.

Where nothing was recorded yet, a naive model answers, calibrated on its own past: what the operator would have acted on
without a model of its own. Models that learned from these very days are never asked: they know them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.calibration import WINDOW, calibrated
from forecasting.forecast import PEAK_QUANTILES
from forecasting.models.last_value import LastValue
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import DAY, WEEK
from forecasting.peaks import not_below, peaks_of
from forecasting.quality.gate import unopposed
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import replay

RECORDED = np.dtype([("created", ">i8"), ("target", ">i8"), ("quantiles", ">f4", (5,)), ("peaks", ">f4", (4,))])
"""One point of a recorded forecast. created, target: microseconds since 2000, as PostgreSQL sends them.

peaks: quantiles of the highest demand up to the end of this point's bin; NaN where they were not recorded.
"""
SPAN = WEEK
"""What is looked back on, at the most."""
LEAST = DAY
"""What there has to be, at the least, after a day that only serves as history."""
_RENEWED = 36
_EPOCH_2000_SECONDS = 946_684_800

Recorded = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Recent:
    """Forecasts at each origin from `first` on; see Foreseen. recorded: at how many of them one was recorded."""

    series: Series
    first: int
    values: FloatArray
    peaks: FloatArray
    recorded: int

    @property
    def recorded_share(self) -> float:
        """A ratio."""
        return self.recorded / len(self.values)


def first_origin(series: Series) -> int | None:
    """The first origin that is looked back on, in bins; None where the series is too short."""
    day, most = round(DAY / series.step), round(SPAN / series.step)
    bins = len(series.values)
    first = max(day, bins - most)
    return first if bins - first >= round(LEAST / series.step) else None


def recent(series: Series, recorded: Recorded, reach: int) -> Recent | None:
    """What was known at each origin of the last days, `reach` bins ahead; None where the series is too short.

    recorded: rows by `created` and `target`; of several forecasts of one bin the newest counts.
    """
    first = first_origin(series)
    if first is None:
        return None
    values = _naive(series, first, reach)[: len(series.values) - first]
    found, found_peaks, there = _on_grid(series, first, recorded, reach)
    values[there] = found[there]
    peaks = peaks_of(series, first, values)
    # A floor was computed from the peaks that were recorded, where there were any.
    recorded_peaks = found_peaks[:, : peaks.shape[1]]
    peaks = not_below(np.where(np.isfinite(recorded_peaks), recorded_peaks, peaks), values)
    return Recent(series, first, values, peaks, int(there.sum()))


def _naive(series: Series, first: int, reach: int) -> FloatArray:
    horizons, begin = np.arange(1, reach + 1), max(1, first - WINDOW)
    walks = [
        calibrated(replay(series, model, begin, horizons), stride=_RENEWED) for model in (LastValue(), SeasonalNaive())
    ]
    walks = [walk.since(first) for walk in walks]
    acting = unopposed(walks, "nothing was learned").acting
    return next(walk.quantiles for walk in walks if walk.name == acting).copy()


def _on_grid(
    series: Series, first: int, recorded: Recorded, reach: int
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Recorded forecasts at the origins: values, peaks, and at which there is one.

    A bin gets what was said for its middle. Peaks are NaN where none were recorded.
    """
    origins = len(series.values) - first
    values, there = np.full((origins, reach, 5), np.nan), np.zeros(origins, bool)
    peaks = np.full((origins, reach, len(PEAK_QUANTILES)), np.nan)
    if not len(recorded):
        return values, peaks, there
    made, starts, counts = np.unique(recorded["created"], return_index=True, return_counts=True)
    width = series.step.total_seconds()
    # In seconds after the first origin; a forecast made within the bin before an origin is known at it.
    made_at = made / 1e6 + _EPOCH_2000_SECONDS - series.start.timestamp() - first * width
    rows = np.ceil(made_at / width - 1e-9).astype(np.int64)
    for row, start, count in zip(rows, starts, counts, strict=True):
        if 0 <= row < origins:
            targets = (recorded["target"][start : start + count] - made[0]) / 1e6 + made_at[0]
            middles = (row + np.arange(reach) + 0.5) * width
            which = np.clip(np.searchsorted(targets, middles, side="right") - 1, 0, count - 1)
            # The last bin stands for two more at most: a forecast kept for a shorter lead time is too short.
            bin_ = targets[1] - targets[0] if count > 1 else width
            values[row] = recorded["quantiles"][start + which]
            there[row] = np.isfinite(values[row]).all() and middles[-1] < targets[-1] + bin_ + 2 * width
            peaks[row] = recorded["peaks"][start + which] if there[row] else np.nan
    return values, peaks, there
