"""How good forecasts are near known events: the World Cup's matches, given in advance or withheld."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from forecasting.calibration import calibrated
from forecasting.context import Context, KnownEvent
from forecasting.error_measures import coverage, wape
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.panel import IntArray
from forecasting.series import Series
from forecasting.walk_forward import walk_forward
from tests.bench.traces import HERE, WORLD_CUP, Say
from tests.bench.verdicts import HORIZON_MINUTES

MATCHES = HERE / "worldcup98-matches.csv"
SPLIT = 0.7
_JUDGED = datetime(1998, 7, 2, tzinfo=UTC), datetime(1998, 7, 13, tzinfo=UTC)
_BEFORE, _AFTER = timedelta(minutes=30), timedelta(minutes=40)


@dataclass(frozen=True, slots=True)
class NearEvents:
    """By HORIZON_MINUTES, near events; wape_all: over all. judged: forecasts an hour ahead near them."""

    wape: tuple[float, ...]
    coverage: tuple[float, ...]
    wape_all: tuple[float, ...]
    judged: int


def near_events(series: dict[str, Series], refits: int, say: Say) -> dict[str, NearEvents]:
    """With the matches given and withheld; empty where the World Cup's trace is not measured."""
    plain = series.get(WORLD_CUP)
    if plain is None:
        return {}
    events = matches()
    say(f"{WORLD_CUP}: near {len(events)} matches, given and withheld")
    return {
        "given": _measured(replace(plain, context=Context(events=events)), events, refits),
        "withheld": _measured(plain, events, refits),
    }


def matches() -> tuple[KnownEvent, ...]:
    """Kick-off to the end of each."""
    with MATCHES.open(newline="") as rows:
        return tuple(
            KnownEvent(row["type"], datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"]))
            for row in csv.DictReader(rows)
        )


def _measured(series: Series, events: Sequence[KnownEvent], refits: int) -> NearEvents:
    bins: IntArray = np.array([timedelta(minutes=minutes) // series.step for minutes in HORIZON_MINUTES])
    walk = calibrated(walk_forward(series, LightGBMQuantiles(threads=2), SPLIT, refits, bins))
    chosen = [near(series, events, walk.origins + horizon - 1) for horizon in bins]
    columns = list(enumerate(chosen))
    return NearEvents(
        wape=tuple(wape(walk.actual[rows, at], walk.at(0.5)[rows, at]) for at, rows in columns),
        coverage=tuple(coverage(walk.actual[rows, at], walk.at(0.9)[rows, at]) for at, rows in columns),
        wape_all=tuple(walk.wape().tolist()),
        judged=int(chosen[-1].sum()),
    )


def near(series: Series, events: Sequence[KnownEvent], targets: IntArray) -> npt.NDArray[np.bool_]:
    """Whether bins begin half an hour before kick-off to 40 minutes after the end, on the days that are judged."""
    begins = series.start.timestamp() + targets * series.step.total_seconds()
    since, until = (moment.timestamp() for moment in _JUDGED)
    found = np.zeros(len(targets), dtype=np.bool_)
    for event in events:
        found |= (begins >= (event.start - _BEFORE).timestamp()) & (begins < (event.end + _AFTER).timestamp())
    return found & (begins >= since) & (begins < until)
