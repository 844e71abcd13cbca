"""Whether leading indicators help on the last days of a series, and the correction where they do.

What the earlier forecasts teach is applied to those of the last days, which are compared with the same forecasts
without it. An indicator that only repeats what the demand itself shows adds nothing beyond the demand's own changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

import numpy as np

from forecasting.error_measures import pinball
from forecasting.forecast import PEAK_QUANTILES
from forecasting.leading.correction import Correction
from forecasting.leading.fitting import find_lag, fit_correction
from forecasting.leading.indicator import Indicator, anomalies, scale_offset
from forecasting.leading.past_forecasts import PastForecasts
from forecasting.panel import DAY, BoolArray
from forecasting.quality.scores import FLOOR_QUANTILE, Score, scores

MIN_FITTED, MIN_JUDGED = 96, 96
"""The least numbers of forecasts to fit and to judge a correction."""
JUDGED_SHARE = 0.4
"""Share of the days that is judged: the last ones."""
_MIN_GAIN = 0.03
"""Smallest reduction of the cost for which an indicator is used, a ratio."""
_COPY_CORRELATION = 0.999


class Use(StrEnum):
    """What becomes of an indicator."""

    USED = "Used"
    NO_GAIN = "NoGain"
    COPY = "Copy"
    TOO_SHORT = "TooShort"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on an indicator. ahead: time by which it runs ahead; None where unknown. evidence: a clause."""

    name: str
    use: Use
    ahead: timedelta | None
    evidence: str


@dataclass(frozen=True, slots=True)
class IndicatorStudy:
    """The verdicts, in the order of the indicators, and the correction by those that are used; None without any."""

    findings: tuple[Finding, ...]
    correction: Correction | None


@dataclass(frozen=True, slots=True)
class _Judged:
    """The scores of forecasts on the judged days: overall, of each half, and the cost of the longest peak."""

    overall: Score
    halves: tuple[Score, Score]
    peak_cost: float


def study_indicators(past: PastForecasts, indicators: Sequence[Indicator]) -> IndicatorStudy:
    """Judge each indicator, and fit a correction by those that help.

    Reads nothing beyond the end of `past.series`.
    """
    split = past.origins[-1] - round((past.origins[-1] - past.origins[0]) * JUDGED_SHARE) if len(past.origins) else 0
    known = np.isfinite(past.actual[:, 0])
    # What was fitted must have been known at the first judged origin.
    early, late = past.rows(known & (past.origins + past.steps <= split)), past.rows(known & (past.origins >= split))
    if len(early.origins) < MIN_FITTED or len(late.origins) < MIN_JUDGED:
        amount = f"{len(early.origins)} and {len(late.origins)} forecasts to learn from and to be judged by"
        why = f"is not judged yet: there are {amount}, and it takes {MIN_FITTED} and {MIN_JUDGED}"
        return IndicatorStudy(
            tuple(Finding(indicator.name, Use.TOO_SHORT, None, why) for indicator in indicators), None
        )
    plain = _judged(late)
    lags = [find_lag(early, indicator) for indicator in indicators]
    findings = tuple(
        _finding(early, late, plain, indicator, lag) for indicator, lag in zip(indicators, lags, strict=True)
    )
    used = [at for at, finding in enumerate(findings) if finding.use is Use.USED]
    if not used:
        return IndicatorStudy(findings, None)
    correction = fit_correction(past.rows(known), [indicators[at] for at in used], [lags[at] for at in used])
    return IndicatorStudy(findings, correction)


def corrected(past: PastForecasts, correction: Correction, indicators: Sequence[Indicator]) -> PastForecasts:
    """Return the forecasts as the correction would have made them."""
    _, shifts = correction.shifts(past.series, indicators, past.origins, past.steps)
    values, peaks = correction.corrected(past.values, past.peaks, shifts, past.levels)
    return replace(past, values=values, peaks=peaks)


def _finding(early: PastForecasts, late: PastForecasts, plain: _Judged, indicator: Indicator, lag: int) -> Finding:
    if _is_copy(late, indicator):
        return Finding(indicator.name, Use.COPY, None, "is a copy of the demand itself, and knows nothing ahead of it")
    with_it = _judged(corrected(late, fit_correction(early, [indicator], [lag]), [indicator]))
    own = _judged(corrected(late, fit_correction(early, [indicator], [lag], own_only=True), [indicator]))
    days = round(int(late.origins[-1] - late.origins[0] + 1) * late.series.step / DAY)
    on = f"on the last {days} days" if days > 1 else "on the last day"
    ahead = lag * late.series.step + indicator.delay
    cost, without = with_it.overall.cost, plain.overall.cost
    numbers = f"cost {cost:.3f} against {without:.3f}, WAPE {with_it.overall.wape:.3f} against {plain.overall.wape:.3f}"
    if not _is_better(with_it, plain):
        return Finding(
            indicator.name, Use.NO_GAIN, ahead, f"does not improve the forecasts {on} ({numbers} without it)"
        )
    if not _costs_less(with_it, own):
        why = f"knows nothing beyond the demand's own changes {on} (cost {cost:.3f} against {own.overall.cost:.3f})"
        return Finding(indicator.name, Use.NO_GAIN, ahead, why)
    return Finding(indicator.name, Use.USED, ahead, f"improves the forecasts {on} ({numbers} without it)")


def _is_better(new: _Judged, old: _Judged) -> bool:
    """Whether the cost falls clearly, in neither half of the days it rises, and neither error nor peaks get worse."""
    return _costs_less(new, old) and new.overall.wape <= old.overall.wape and new.peak_cost <= old.peak_cost


def _costs_less(new: _Judged, old: _Judged) -> bool:
    halves = zip(new.halves, old.halves, strict=True)
    return new.overall.cost <= old.overall.cost * (1 - _MIN_GAIN) and all(
        after.cost <= before.cost for after, before in halves
    )


def _judged(past: PastForecasts) -> _Judged:
    walk = past.walk("")
    middle = len(past.origins) // 2
    is_early: BoolArray = np.arange(len(past.origins)) < middle
    halves = [scores(past.rows(which).walk("")).overall for which in (is_early, ~is_early)]
    peak = past.peaks[:, -1, PEAK_QUANTILES.index(FLOOR_QUANTILE)]
    return _Judged(scores(walk).overall, (halves[0], halves[1]), pinball(past.highest[:, -1], peak, FLOOR_QUANTILE))


def _is_copy(past: PastForecasts, indicator: Indicator) -> bool:
    """Whether the unusual part of an indicator is that of the demand itself."""
    begin, end = int(past.origins[0]), int(past.origins[-1])
    parts = [
        anomalies(values, past.series.step, scale_offset(values[:end]))[begin:end]
        for values in (past.series.values, indicator.values)
    ]
    known = np.isfinite(parts[0]) & np.isfinite(parts[1])
    if known.sum() < MIN_JUDGED or min(float(part[known].std()) for part in parts) < 1e-9:
        return False
    return bool(np.corrcoef(parts[0][known], parts[1][known])[0, 1] >= _COPY_CORRELATION)
