"""A quantile that follows its frontier, seldom and for good reason.

What a past of a few days says of a setting is noisy: one burst enters the past and leaves it again. So a move has to
gain more than chance, and after each turn back twice as much as before, until nothing has moved for a long while.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from forecasting.scaling.frontier import MIN_GAIN, Point, Prices, retuned

MIN_INTERVAL = timedelta(days=14)
"""Turns are forgotten when nothing has moved for so long: twice the past that is tuned on."""
_MAX_GAIN = 0.9


@dataclass(frozen=True, slots=True)
class TunerState:
    """The quantile in use. moved_at: since when. rising: which way the last move went; None where it was the first.

    turns: how often it has lately moved the other way than before.
    """

    quantile: float
    moved_at: datetime
    rising: bool | None = None
    reversals: int = 0


def update(held: TunerState | None, points: Sequence[Point], prices: Prices, now: datetime) -> TunerState:
    """What to hold from now on, seeing this frontier. points: those at the present target of the HPA.

    Without anything held it is the cheapest; so it is where the frontier has no such quantile as the held one. Raises
    ValueError where there is no point.
    """
    if held is None:
        return TunerState(retuned(None, points, prices).quantile, now)
    if now - held.moved_at >= MIN_INTERVAL:
        held = TunerState(held.quantile, held.moved_at)
    current = next(((point.quantile, point.hpa_target) for point in points if point.quantile == held.quantile), None)
    least = MIN_GAIN * 2.0**held.reversals
    found = retuned(current, points, prices, min(least, _MAX_GAIN))
    rising = found.quantile > held.quantile
    turns_back = held.rising is not None and rising is not held.rising
    if turns_back and current is not None:
        found = retuned(current, points, prices, min(2 * least, _MAX_GAIN))
    if found.quantile == held.quantile:
        return held
    return TunerState(found.quantile, now, rising, held.reversals + turns_back)
