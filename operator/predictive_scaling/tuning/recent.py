"""The forecasts of the last days at regular origins: the recorded forecasts, else those of a naive model.

For origins without a recorded forecast, a naive model forecasts, calibrated on its own past, as the operator does
without a trained model. Models that were trained on these days are never used, because they have seen the outcome.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.calibration import NAIVE_ORIGINS, calibrated, measured_horizons
from forecasting.forecast import PEAK_QUANTILES
from forecasting.models.last_value import LastValue
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.panel import DAY, WEEK
from forecasting.peaks import at_least_bins, peaks_from_bins
from forecasting.quality.gate import verdict_without_champion
from forecasting.series import FloatArray, Series
from forecasting.walk_forward import replay

RECORDED = np.dtype([("created", ">i8"), ("target", ">i8"), ("quantiles", ">f4", (5,)), ("peaks", ">f4", (4,))])
"""A point of a recorded forecast. created, target: microseconds since 2000, as PostgreSQL sends them.

peaks: quantiles of the highest demand up to the end of this point's bin; NaN if they were not recorded.
"""
MAX_SPAN = WEEK
"""Maximum span that is evaluated."""
MIN_SPAN = DAY
"""Minimum span that is evaluated, after one day that only serves as history."""
_CALIBRATION_STRIDE = 36
_EPOCH_2000_SECONDS = 946_684_800

RecordedRows = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class RecentForecasts:
    """A ForecastBatch of the last days. recorded: number of origins with a recorded forecast."""

    series: Series
    first: int
    values: FloatArray
    peaks: FloatArray
    recorded: int

    @property
    def recorded_share(self) -> float:
        """Share of the origins with a recorded forecast, a ratio."""
        return self.recorded / len(self.values)


def first_origin(series: Series) -> int | None:
    """Return the first origin that is evaluated, in bins; None if the series is too short."""
    day, max_bins = round(DAY / series.step), round(MAX_SPAN / series.step)
    bins = len(series.values)
    first = max(day, bins - max_bins)
    return first if bins - first >= round(MIN_SPAN / series.step) else None


def recent_forecasts(series: Series, recorded: RecordedRows, reach: int) -> RecentForecasts | None:
    """Return what was known at each origin of the last days, `reach` bins ahead; None if the series is too short.

    recorded: rows ordered by `created` and `target`; of several forecasts for one origin the newest counts.
    """
    first = first_origin(series)
    if first is None:
        return None
    values = _naive_forecasts(series, first, reach)[: len(series.values) - first]
    recorded_values, recorded_peaks, is_recorded = _at_origins(series, first, recorded, reach)
    values[is_recorded] = recorded_values[is_recorded]
    peaks = peaks_from_bins(series, first, values)
    # The live floor was computed from the recorded peaks, if there were any.
    recorded_peaks = recorded_peaks[:, : peaks.shape[1]]
    peaks = at_least_bins(np.where(np.isfinite(recorded_peaks), recorded_peaks, peaks), values)
    return RecentForecasts(series, first, values, peaks, int(is_recorded.sum()))


def _naive_forecasts(series: Series, first: int, reach: int) -> FloatArray:
    horizons, begin = np.arange(1, reach + 1), max(1, first - NAIVE_ORIGINS.bins - reach)
    measured = measured_horizons(series.step, reach)
    walks = [
        calibrated(replay(series, model, begin, horizons), NAIVE_ORIGINS, _CALIBRATION_STRIDE, measured)
        for model in (LastValue(), SeasonalNaive())
    ]
    walks = [walk.since(first) for walk in walks]
    acting = verdict_without_champion(walks, "nothing was learned").acting
    return next(walk.quantiles for walk in walks if walk.name == acting).copy()


def _at_origins(
    series: Series, first: int, recorded: RecordedRows, reach: int
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.bool_]]:
    """Return the recorded forecasts at the origins: values, peaks, and whether an origin has one.

    A bin gets the values of the point that covers its middle. Peaks are NaN if they were not recorded.
    """
    origins = len(series.values) - first
    values, is_recorded = np.full((origins, reach, 5), np.nan), np.zeros(origins, bool)
    peaks = np.full((origins, reach, len(PEAK_QUANTILES)), np.nan)
    if not len(recorded):
        return values, peaks, is_recorded
    created, starts, counts = np.unique(recorded["created"], return_index=True, return_counts=True)
    width = series.step.total_seconds()
    # In seconds after the first origin; a forecast made within the bin before an origin is known at that origin.
    created_at = created / 1e6 + _EPOCH_2000_SECONDS - series.start.timestamp() - first * width
    rows = np.ceil(created_at / width - 1e-9).astype(np.int64)
    for row, start, count in zip(rows, starts, counts, strict=True):
        if 0 <= row < origins:
            targets = (recorded["target"][start : start + count] - created[0]) / 1e6 + created_at[0]
            middles = (row + np.arange(reach) + 0.5) * width
            points = np.clip(np.searchsorted(targets, middles, side="right") - 1, 0, count - 1)
            # The last point covers at most two more bins: a forecast recorded for a shorter lead time is too short.
            point_width = targets[1] - targets[0] if count > 1 else width
            values[row] = recorded["quantiles"][start + points]
            is_long_enough = middles[-1] < targets[-1] + point_width + 2 * width
            is_recorded[row] = np.isfinite(values[row]).all() and is_long_enough
            peaks[row] = recorded["peaks"][start + points] if is_recorded[row] else np.nan
    return values, peaks, is_recorded
