"""The correction of a forecast by leading indicators: a shift of its logarithms, and bands of what remains unknown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from forecasting.calibration import interpolation
from forecasting.forecast import PEAK_QUANTILES, QUANTILES, Forecast
from forecasting.leading.indicator import RECENT_BINS, Indicator, anomalies, lead_columns
from forecasting.levels import Levels, levels_at
from forecasting.panel import IntArray, Origins, Panel
from forecasting.peaks import at_least_bins
from forecasting.series import FloatArray, Series

_MAX_SHIFT = float(np.log(4.0))
_MAX_REASONS = 3
_MIN_SHARE = 0.005
_MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True, slots=True)
class Lead:
    """What an indicator adds. lag: bins by which it runs ahead; ahead: the time. offset: of its logarithms.

    weights: of its columns at each horizon, shape (horizons, COLUMNS). limits: the largest changes in either direction
    that were learned from, shape (COLUMNS,); larger ones count as these.
    """

    name: str
    lag: int
    ahead: timedelta
    offset: float
    weights: FloatArray
    limits: FloatArray

    def shifts(self, unusual: FloatArray, origins: IntArray, horizons: IntArray) -> FloatArray:
        """Return what it adds at the horizons of its weights: shape (origins, horizons)."""
        columns = np.clip(lead_columns(unusual, origins, horizons, self.lag), -self.limits, self.limits)
        return (columns * self.weights).sum(axis=-1)


@dataclass(frozen=True, slots=True)
class Correction:
    """Corrections at `horizons` (bins ahead, ascending), interpolated between them.

    leads: by indicator, in the order of the names. own: what the demand's own changes add at the lag of each
    indicator, so that an indicator counts only for what it knows beyond them. scales: width of each quantile's band
    relative to that of the uncorrected forecast, shape (horizons, len(QUANTILES)); peak_scales: the same for peaks,
    shape (horizons, len(PEAK_QUANTILES)).
    """

    horizons: IntArray
    leads: tuple[Lead, ...]
    own: tuple[Lead, ...]
    scales: FloatArray
    peak_scales: FloatArray

    def shifts(
        self, demand: Series, indicators: Sequence[Indicator], origins: IntArray, steps: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return the shift of each indicator, shape (leads, origins, steps), and of all: shape (origins, steps).

        NaN where a bin that the correction reads is missing. indicators: of the names and in the order of `leads`.
        """
        weights = interpolation(self.horizons, np.arange(1, steps + 1))
        newest = len(demand.values) - int(origins[0]) + max(lead.lag for lead in self.leads) + RECENT_BINS
        parts = [
            self._parts(leads, _unusual(leads, demand, indicators, newest), origins) for leads in (self.leads, self.own)
        ]
        by_lead = np.stack([part @ weights.T for part in parts[0]])
        total = by_lead.sum(axis=0) + sum(part @ weights.T for part in parts[1])
        return by_lead, np.clip(total, -_MAX_SHIFT, _MAX_SHIFT)

    def apply(self, forecast: Forecast, demand: Series, indicators: Sequence[Indicator]) -> Forecast | None:
        """Return the corrected forecast; None if a bin of an indicator that it needs is missing.

        demand: the series that was forecast. indicators: see `shifts`.
        """
        origin = np.array([len(demand.values)])
        steps = len(forecast.values)
        by_lead, total = self.shifts(demand, indicators, origin, steps)
        if not np.isfinite(total).all():
            return None
        levels = levels_at(Panel.of([demand]), Origins.of_single_series(origin))
        peaks = None if forecast.peaks is None else forecast.peaks[None]
        values, corrected_peaks = self.corrected(forecast.values[None], peaks, total, levels)
        shares = sorted(zip(self.leads, _strongest(by_lead[:, 0]), strict=True), key=lambda entry: -abs(entry[1]))
        reasons = [
            f"{lead.name} {_minutes(lead.ahead)} before ({np.expm1(share):+.0%})"
            for lead, share in shares
            if abs(share) >= _MIN_SHARE
        ]
        return replace(
            forecast,
            values=values[0],
            peaks=None if corrected_peaks is None else corrected_peaks[0],
            contributions=(*reasons, *forecast.contributions)[:_MAX_REASONS],
        )

    def corrected(
        self, values: FloatArray, peaks: FloatArray | None, shifts: FloatArray, levels: Levels
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return corrected quantiles and peaks; origins with a missing shift keep theirs.

        values: shape (origins, steps, len(QUANTILES)). peaks: shape (origins, windows, len(PEAK_QUANTILES)) or None.
        shifts: shape (origins, steps).
        """
        steps = values.shape[1]
        known = np.isfinite(shifts.sum(axis=1))
        shifts = np.where(known[:, None], shifts, 0.0)
        weights = interpolation(self.horizons, np.arange(1, steps + 1))
        moved = rescaled(values, shifts, weights @ self.scales, levels, _MEDIAN)
        values_out = np.where(known[:, None, None], moved, values)
        if peaks is None:
            return values_out, None
        windows = peaks.shape[1]
        peak_shift = peak_shifts(values[:, :windows, _MEDIAN], shifts[:, :windows], levels)
        moved_peaks = rescaled(peaks, peak_shift, (weights @ self.peak_scales)[:windows], levels, 0)
        return values_out, np.where(known[:, None, None], at_least_bins(moved_peaks, values_out), peaks)

    def _parts(self, leads: Sequence[Lead], unusual: Sequence[FloatArray], origins: IntArray) -> list[FloatArray]:
        """Return the shift of each lead at `horizons`: shape (origins, horizons)."""
        return [lead.shifts(values, origins, self.horizons) for lead, values in zip(leads, unusual, strict=True)]


def _unusual(leads: Sequence[Lead], demand: Series, indicators: Sequence[Indicator], newest: int) -> list[FloatArray]:
    by_name = {indicator.name: indicator.values for indicator in indicators}
    return [anomalies(by_name.get(lead.name, demand.values), demand.step, lead.offset, newest) for lead in leads]


def _strongest(by_step: FloatArray) -> FloatArray:
    """Return the shift of the largest size of each row."""
    return by_step[np.arange(len(by_step)), np.abs(by_step).argmax(axis=1)]


def rescaled(values: FloatArray, shifts: FloatArray, scales: FloatArray, levels: Levels, center: int) -> FloatArray:
    """Return quantiles moved in logarithms, and their distances to the one in column `center` scaled.

    values: shape (origins, steps, quantiles). shifts: shape (origins, steps). scales: shape (steps, quantiles).
    """
    logs = levels.log_of(values)
    middle = logs[:, :, center : center + 1]
    return np.sort(levels.value_of(middle + shifts[:, :, None] + (logs - middle) * scales), axis=-1)


def peak_shifts(medians: FloatArray, shifts: FloatArray, levels: Levels) -> FloatArray:
    """Return how much the highest median of each window moves, in logarithms: shape (origins, windows)."""
    logs = levels.log_of(medians)
    moved = np.maximum.accumulate(logs + shifts, axis=1)
    return moved - np.maximum.accumulate(logs, axis=1)


def _minutes(duration: timedelta) -> str:
    minutes = round(duration / timedelta(minutes=1))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def no_scales(horizons: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return scales that leave bands as they are."""
    return np.ones((len(horizons), len(QUANTILES))), np.ones((len(horizons), len(PEAK_QUANTILES)))
