"""Accuracy near known events: matches, given in advance or withheld."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from forecasting.calibration import calibrated
from forecasting.context import Context, KnownEvent
from forecasting.error_measures import coverage, wape
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.panel import IntArray
from forecasting.series import Series
from forecasting.walk_forward import walk_forward
from tests.bench.verdicts import HORIZON_MINUTES

SPLIT = 0.7
_BEFORE, _AFTER = timedelta(minutes=30), timedelta(minutes=40)


@dataclass(frozen=True, slots=True)
class NearEvents:
    """Accuracy near events by HORIZON_MINUTES. wape_all: over all times. judged: number of forecasts an hour ahead."""

    wape: tuple[float, ...]
    coverage: tuple[float, ...]
    wape_all: tuple[float, ...]
    judged: int


def near_events(
    series: Mapping[str, Series],
    events: Mapping[str, tuple[KnownEvent, ...]],
    refits: int,
    say: Callable[[str], None],
) -> dict[str, NearEvents]:
    """Measure the first series that has events, with the events given and withheld; empty without events."""
    for name, events_of_series in events.items():
        without_events = series[name]
        say(f"{name}: near {len(events_of_series)} matches, given and withheld")
        return {
            "given": _measured(
                replace(without_events, context=Context(events=events_of_series)), events_of_series, refits
            ),
            "withheld": _measured(without_events, events_of_series, refits),
        }
    return {}


def read_matches(path: Path) -> tuple[KnownEvent, ...]:
    """Read the matches of a CSV file with the columns name, type, start and end."""
    with path.open(newline="") as rows:
        return tuple(
            KnownEvent(row["type"], datetime.fromisoformat(row["start"]), datetime.fromisoformat(row["end"]))
            for row in csv.DictReader(rows)
        )


def _measured(series: Series, events: Sequence[KnownEvent], refits: int) -> NearEvents:
    bins: IntArray = np.array([timedelta(minutes=minutes) // series.step for minutes in HORIZON_MINUTES])
    walk = calibrated(walk_forward(series, LightGBMQuantiles(threads=2), SPLIT, refits, bins))
    near_targets = [near(series, events, walk.origins + horizon - 1) for horizon in bins]
    columns = list(enumerate(near_targets))
    return NearEvents(
        wape=tuple(wape(walk.actual[rows, at], walk.at(0.5)[rows, at]) for at, rows in columns),
        coverage=tuple(coverage(walk.actual[rows, at], walk.at(0.9)[rows, at]) for at, rows in columns),
        wape_all=tuple(walk.wape().tolist()),
        judged=int(near_targets[-1].sum()),
    )


def near(series: Series, events: Sequence[KnownEvent], targets: IntArray) -> npt.NDArray[np.bool_]:
    """Return whether bins begin between half an hour before kick-off and 40 minutes after the end."""
    bin_starts = series.start.timestamp() + targets * series.step.total_seconds()
    is_near = np.zeros(len(targets), dtype=np.bool_)
    for event in events:
        is_near |= (bin_starts >= (event.start - _BEFORE).timestamp()) & (bin_starts < (event.end + _AFTER).timestamp())
    return is_near
