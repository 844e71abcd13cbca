"""The leading indicators of a backtest: judged again each day by the days before, as live."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forecasting.error_measures import pinball, wape
from forecasting.forecast import QUANTILES
from forecasting.leading import Correction, Finding, Indicator, PastForecasts, Use, study_indicators
from forecasting.panel import DAY, values_at
from forecasting.quality.scores import FLOOR_QUANTILE
from forecasting.series import FloatArray, Series
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts
from predictive_scaling.backtesting.traces.regressors import RecordedRegressor
from predictive_scaling.backtesting.walk_forward import ReportProgress

_STUDIED = 5 * DAY
_STRIDE = DAY / 96
"""Interval between the forecasts that are studied, as live."""
_MIN_HISTORY = 2 * DAY
"""Forecasts that were made before the first study."""


@dataclass(frozen=True, slots=True)
class IndicatorUse:
    """What became of an indicator after the split. used: of `days` studies, those that found it helpful."""

    name: str
    used: int
    days: int
    last: Finding | None


@dataclass(frozen=True, slots=True)
class IndicatorEffect:
    """The effect of the indicators after the split: cost and WAPE over all bins ahead, with and without them."""

    uses: tuple[IndicatorUse, ...]
    cost: float
    cost_without: float
    wape: float
    wape_without: float


def with_indicators(
    forecasts: RollingForecasts, regressors: Sequence[RecordedRegressor], report: ReportProgress
) -> tuple[RollingForecasts, IndicatorEffect | None]:
    """Return the forecasts corrected by the indicators that helped on the days before each day, and the effect."""
    if not regressors:
        return forecasts, None
    series, day = forecasts.series, max(1, round(DAY / forecasts.series.step))
    indicators = [_indicator(series, regressor) for regressor in regressors]
    values, peaks = forecasts.values.copy(), forecasts.peaks.copy()
    first, end = forecasts.first + round(_MIN_HISTORY / series.step), forecasts.first + len(values)
    findings: list[Sequence[Finding]] = []
    for since in range(first, end, day):
        report("judging leading indicators", (since - first) / max(1, end - first))
        study = study_indicators(_past(forecasts, since), [_before(indicator, since) for indicator in indicators])
        if since + day > forecasts.plan.split:
            findings.append(study.findings)
        if study.correction is not None:
            used = [
                indicator
                for indicator, finding in zip(indicators, study.findings, strict=True)
                if finding.use is Use.USED
            ]
            rows = slice(since - forecasts.first, min(since + day, end) - forecasts.first)
            values[rows], peaks[rows] = _corrected(forecasts, study.correction, used, rows)
    corrected = replace(forecasts, values=values, peaks=peaks)
    return corrected, _effect(forecasts, corrected, indicators, findings)


def _indicator(series: Series, regressor: RecordedRegressor) -> Indicator:
    named = regressor.regressor
    values, offset = regressor.series.values, (series.start - regressor.series.start) // series.step
    columns = np.arange(len(series.values)) + offset
    aligned = values_at(values[None], np.zeros_like(columns), columns)
    return Indicator(f"{named.metric} of {named.service}", aligned, max(1, named.max_lag // series.step))


def _before(indicator: Indicator, origin: int) -> Indicator:
    return replace(indicator, values=indicator.values[:origin])


def _past(forecasts: RollingForecasts, since: int) -> PastForecasts:
    """Return the forecasts of the days before an origin, with what was known of their outcome at that origin."""
    series = forecasts.series
    stride = max(1, round(_STRIDE / series.step))
    origins = np.arange(max(forecasts.first, since - round(_STUDIED / series.step)), since, stride)
    rows = origins - forecasts.first
    known = replace(series, values=series.values[:since])
    return PastForecasts.of(known, origins, forecasts.values[rows], forecasts.peaks[rows])


def _corrected(
    forecasts: RollingForecasts, correction: Correction, indicators: Sequence[Indicator], rows: slice
) -> tuple[FloatArray, FloatArray]:
    origins = np.arange(rows.start, rows.stop) + forecasts.first
    past = PastForecasts.of(forecasts.series, origins, forecasts.values[rows], forecasts.peaks[rows])
    _, shifts = correction.shifts(forecasts.series, indicators, origins, past.steps)
    values, peaks = correction.corrected(past.values, past.peaks, shifts, past.levels)
    return values, past.peaks if peaks is None else peaks


def _effect(
    plain: RollingForecasts,
    corrected: RollingForecasts,
    indicators: Sequence[Indicator],
    findings: Sequence[Sequence[Finding]],
) -> IndicatorEffect:
    uses = tuple(
        IndicatorUse(
            indicator.name,
            sum(of_day[at].use is Use.USED for of_day in findings),
            len(findings),
            findings[-1][at] if findings else None,
        )
        for at, indicator in enumerate(indicators)
    )
    rows = slice(plain.plan.split - plain.first, None)
    origins = np.arange(plain.plan.split, plain.first + len(plain.values))
    actual = PastForecasts.of(plain.series, origins, plain.values[rows], plain.peaks[rows]).actual
    scores = [_scores(actual, forecasts.values[rows]) for forecasts in (corrected, plain)]
    (cost, error), (cost_without, error_without) = scores
    return IndicatorEffect(uses, cost, cost_without, error, error_without)


def _scores(actual: FloatArray, values: FloatArray) -> tuple[float, float]:
    """Return cost and WAPE as the quality gate defines them, over all bins ahead."""
    mean = float(np.nanmean(actual)) if np.isfinite(actual).any() else float("nan")
    high, median = (values[:, :, QUANTILES.index(quantile)] for quantile in (FLOOR_QUANTILE, 0.5))
    cost = pinball(actual, high, FLOOR_QUANTILE) / mean if mean > 0 else float("nan")
    return cost, wape(actual, median)
