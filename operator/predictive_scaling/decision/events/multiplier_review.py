"""Compares the demand during an event with what its declared multiplier predicted (semantics 20). Pure.

The result is a report only: no floor depends on it. A multiplier that is too low is covered by the forecast, which sees
the demand, and by the target's own autoscaler.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.forecast import Forecast
from forecasting.quantile_interpolation import quantile_weights
from predictive_scaling.decision.events.windows import EventWindow
from predictive_scaling.decision.formatting import clock_time
from predictive_scaling.decision.spans import Span
from predictive_scaling.resources.vocabulary import MultiplierVerdict

_MINUTE = timedelta(minutes=1)
WINDOW = 10
"""Minutes over which demand is compared with its baseline."""
_MIN_OBSERVED = 8
"""Minutes of a window that need demand and a baseline."""
_MIN_SHARE = 0.5
"""Minutes of a ramp count from this share of the effect on: before, the baseline's own error is larger."""
_LOW, _MEDIAN, _HIGH = 0.1, 0.5, 0.9
"""Quantiles of the baseline. A declared multiplier multiplies the median."""
_TOO_LOW, _STAYS_TOO_LOW = 1.25, 1.1
"""Observed multiplier over the declared one from which it is too low, and until which it stays so."""
_TOO_HIGH, _STAYS_TOO_HIGH = 0.75, 0.9
_MIN_ELAPSED, _MAX_ELAPSED = timedelta(minutes=15), timedelta(hours=1)
_MAX_NAMES = 3

Minutes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MultiplierReview:
    """What one occurrence did to the demand of one policy so far."""

    multiplier: float
    """The highest multiplier over ten minutes; it only rises during an occurrence, unless demand is corrected."""
    until: datetime
    """The end of these ten minutes."""
    verdict: MultiplierVerdict | None
    """None until the event is old enough: demand may still rise."""


def review_multiplier(
    window: EventWindow,
    declared: float,
    baseline: Forecast,
    demand: Minutes,
    others: Iterable[Span] = (),
    before: MultiplierVerdict | None = None,
) -> MultiplierReview | None:
    """Return the review of an occurrence; None without ten minutes that can be compared.

    demand: each minute from the full minute before `window.span.start` on, NaN where it is missing. baseline: made
    before the event began to act. others: spans of other events of the policy, which are left out, as the demand cannot
    be attributed. before: the last verdict on this occurrence, which ends only at a wider threshold.
    """
    start = window.span.start.replace(second=0, microsecond=0)
    share = shares(window, start, len(demand))
    counts = (share >= _MIN_SHARE) & np.isfinite(demand)
    for span in others:
        counts[max(0, (span.start - start) // _MINUTE) : max(0, -((start - span.end) // _MINUTE))] = False
    low, median, high = (_per_minute(baseline, quantile, start, len(demand)) for quantile in (_LOW, _MEDIAN, _HIGH))
    counts &= np.isfinite(low) & np.isfinite(median) & np.isfinite(high) & (low >= 0) & (median > 0)
    multipliers = _over_windows(demand, median, share, counts)
    if not np.isfinite(multipliers).any():
        return None
    peak = int(np.nanargmax(multipliers))
    multiplier = max(0.0, float(multipliers[peak]))
    # The baseline's own band must not explain the difference.
    exceeds = bool(np.nanmax(_over_windows(demand, high, share, counts)) > declared)
    falls_short = bool(np.nanmax(_over_windows(demand, low, share, counts)) < declared)
    elapsed = start + _MINUTE * len(demand) - window.occurrence.start
    verdict: MultiplierVerdict | None = None
    if exceeds and multiplier >= declared * (_STAYS_TOO_LOW if before is MultiplierVerdict.TOO_LOW else _TOO_LOW):
        verdict = MultiplierVerdict.TOO_LOW
    elif elapsed >= _min_elapsed(window):
        limit = declared * (_STAYS_TOO_HIGH if before is MultiplierVerdict.TOO_HIGH else _TOO_HIGH)
        is_too_high = falls_short and multiplier <= limit
        verdict = MultiplierVerdict.TOO_HIGH if is_too_high else MultiplierVerdict.AS_DECLARED
    return MultiplierReview(multiplier, start + _MINUTE * (peak + WINDOW), verdict)


def shares(window: EventWindow, start: datetime, minutes: int) -> Minutes:
    """Return the share of the effect in the middle of each minute from `start` on: 1 from the event's start to its end.

    Outside the ramps it is 0.
    """
    middle = np.arange(minutes) + 0.5
    begins, ends = ((moment - start) / _MINUTE for moment in window.occurrence)
    ramp_up, ramp_down = window.occurrence.start - window.span.start, window.span.end - window.occurrence.end
    rising = 1.0 + (middle - begins) / (ramp_up / _MINUTE) if ramp_up else np.where(middle < begins, 0.0, 1.0)
    falling = 1.0 - (middle - ends) / (ramp_down / _MINUTE) if ramp_down else np.where(middle < ends, 1.0, 0.0)
    return np.clip(np.minimum(rising, falling), 0.0, 1.0)


def summary_of(reviews: Mapping[str, MultiplierReview], declared: float) -> tuple[MultiplierVerdict, str] | None:
    """Return the verdict on a multiplier and what to write instead; None while there is no verdict.

    reviews: by the name of the policy. One policy with more demand suffices for too low; too high needs all of them.
    """
    judged = {name: review for name, review in reviews.items() if review.verdict is not None}
    if not judged:
        return None
    names = sorted(judged, key=lambda name: (-judged[name].multiplier, name))
    verdicts = {review.verdict for review in judged.values()}
    advice = min(100.0, max(0.1, math.ceil(judged[names[0]].multiplier * 10 - 1e-9) / 10))
    message = f"{_describe(names, judged)}, the highest so far; declared {declared:g}"
    remedy = f'; set spec.expect.multiplier to "{advice:g}"'
    if MultiplierVerdict.TOO_LOW in verdicts:
        return MultiplierVerdict.TOO_LOW, message + remedy
    if verdicts == {MultiplierVerdict.TOO_HIGH}:
        return MultiplierVerdict.TOO_HIGH, message + remedy
    high = [name for name in names if judged[name].verdict is MultiplierVerdict.TOO_HIGH]
    if high:
        message += f"; too high for {_listed(high)}: another event with its own multiplier would need fewer replicas"
    return MultiplierVerdict.AS_DECLARED, message


def _describe(names: list[str], reviews: Mapping[str, MultiplierReview]) -> str:
    highest = reviews[names[0]]
    others = f" (of {len(names)})" if len(names) > 1 else ""
    return (
        f"the demand of policy {names[0]}{others} was {highest.multiplier:.1f} times its baseline "
        f"over {WINDOW} minutes until {clock_time(highest.until)}"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _min_elapsed(window: EventWindow) -> timedelta:
    """The time after the start from which a low demand is evidence: half the event, from 15 minutes to an hour."""
    duration = window.occurrence.end - window.occurrence.start
    return min(duration, max(_MIN_ELAPSED, min(duration / 2, _MAX_ELAPSED)))


def _per_minute(forecast: Forecast, quantile: float, start: datetime, minutes: int) -> Minutes:
    """Return a quantile of the forecast for each minute; NaN outside its bins."""
    weights = np.array(quantile_weights(forecast.quantiles, quantile).by_column(len(forecast.quantiles)))
    bins = np.asarray(forecast.values, dtype=np.float64) @ weights
    offset = (start - forecast.origin) / _MINUTE
    index = np.floor((np.arange(minutes) + 0.5 + offset) / (forecast.step / _MINUTE)).astype(np.int64)
    inside = (index >= 0) & (index < len(bins))
    return np.where(inside, bins[np.clip(index, 0, len(bins) - 1)], np.nan)


def _over_windows(demand: Minutes, baseline: Minutes, share: Minutes, counts: npt.NDArray[np.bool_]) -> Minutes:
    """Return the multiplier with which the baseline has the observed demand, for each window of ten minutes.

    Of a minute with a share s of the effect, baseline * (1 + (multiplier - 1) * s) is expected. NaN where a window has
    too few minutes.
    """
    if len(demand) < WINDOW:
        return np.empty(0)
    excess, effect = np.where(counts, demand - baseline, 0.0), np.where(counts, baseline * share, 0.0)
    window = np.ones(WINDOW)
    observed = np.convolve(counts.astype(np.float64), window, "valid")
    effects = np.convolve(effect, window, "valid")
    usable = (observed >= _MIN_OBSERVED) & (effects > 0)
    ratio = np.convolve(excess, window, "valid") / np.where(usable, effects, 1.0)
    return np.where(usable, 1.0 + ratio, np.nan)
