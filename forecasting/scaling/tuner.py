"""The tuner: a quantile that follows its frontier with hysteresis.

A frontier over a few days is noisy: one burst enters that history and leaves it again. Therefore a move must gain more
than chance, and after each reversal twice as much as before, until nothing has moved for MIN_INTERVAL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from forecasting.scaling.frontier import MIN_GAIN, Point, Prices, retuned

MIN_INTERVAL = timedelta(days=14)
"""Reversals are forgotten after this long without a move: twice the history that the tuner reads."""
_MAX_GAIN = 0.9


@dataclass(frozen=True, slots=True)
class TunerState:
    """The quantile in use. moved_at: the last move. rising: the direction of the last move; None for the first one.

    reversals: recent moves in the direction opposite to the move before.
    """

    quantile: float
    moved_at: datetime
    rising: bool | None = None
    reversals: int = 0


def update(state: TunerState | None, points: Sequence[Point], prices: Prices, now: datetime) -> TunerState:
    """Return the next state for this frontier. points: those at the current target of the HPA.

    Without a state, or where the frontier does not contain its quantile, the cheapest point is chosen. Raises
    ValueError without points.
    """
    if state is None:
        return TunerState(retuned(None, points, prices).quantile, now)
    if now - state.moved_at >= MIN_INTERVAL:
        state = TunerState(state.quantile, state.moved_at)
    current = next(((point.quantile, point.hpa_target) for point in points if point.quantile == state.quantile), None)
    min_gain = MIN_GAIN * 2.0**state.reversals
    chosen = retuned(current, points, prices, min(min_gain, _MAX_GAIN))
    rising = chosen.quantile > state.quantile
    is_reversal = state.rising is not None and rising is not state.rising
    if is_reversal and current is not None:
        chosen = retuned(current, points, prices, min(2 * min_gain, _MAX_GAIN))
    if chosen.quantile == state.quantile:
        return state
    return TunerState(chosen.quantile, now, rising, state.reversals + is_reversal)
