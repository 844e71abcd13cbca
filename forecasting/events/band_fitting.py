"""Fit the bands near events to the errors that a model would have made there, with effects from earlier events only."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np

from forecasting.events.bands import Bands
from forecasting.events.effects import Effects
from forecasting.events.layer import EventLayer, PanelEvents
from forecasting.features import Matrix, build_features
from forecasting.panel import DAY, IntArray, Origins, Panel
from forecasting.series import FloatArray

_MAX_ROWS = 30_000
_MINUTE = timedelta(minutes=1)
_HORIZONS = tuple(minutes * _MINUTE for minutes in (5, 10, 15, 20, 30, 45, 60, 90, 120, 180))

MedianModel = Callable[[Matrix], FloatArray]
"""Returns medians as logs relative to the level, for rows of features."""


def layer_with_bands(effects: Effects, panel: Panel, medians: MedianModel) -> EventLayer:
    """Return an event layer with bands fitted to the errors of medians on the only series of a panel.

    medians: a model with few parameters, so that its errors on training data are close to those on new data.
    """
    events = EventLayer(effects).on_panel(panel, 0)
    horizons = np.unique([panel.bins_in(ahead) for ahead in _HORIZONS])
    parts = [_targets_near_events(events, int(horizon)) for horizon in horizons]
    cols, ahead = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    stride = max(1, -(-len(cols) // _MAX_ROWS))
    cols, ahead = cols[::stride], ahead[::stride]
    if not len(cols):
        return EventLayer(effects)
    origins = Origins.of_single_series(cols)
    quiet = events.without_events()
    built = build_features(quiet, origins, ahead[:, None])
    errors = built.levels.log_of(quiet.values[0, cols + ahead - 1]) - medians(built.matrix)
    errors = np.where(built.levels.has_demand, errors, np.nan)
    change, owner = _change_and_owner(events, cols, ahead)
    minutes = (ahead * (panel.step / 60)).astype(np.float64)
    return EventLayer(effects, Bands.fit(errors, minutes, change, owner))


def _targets_near_events(events: PanelEvents, horizon: int) -> tuple[IntArray, IntArray]:
    """Return the origins whose target at a horizon is near an event, and the horizon of each."""
    first = events.panel.bins_in(DAY)
    cols = np.arange(first, events.panel.bins - horizon + 1)
    near = events.near(Origins.of_single_series(cols), np.array([horizon]))[:, 0]
    return cols[near], np.full(int(near.sum()), horizon)


def _change_and_owner(events: PanelEvents, cols: IntArray, ahead: IntArray) -> tuple[FloatArray, IntArray]:
    """Return the change of the effect from origin to target, and the event of the target, for each row."""
    change, owner = np.empty(len(cols)), np.empty(len(cols), dtype=np.int64)
    for horizon in np.unique(ahead):
        rows = ahead == horizon
        origins, horizons = Origins.of_single_series(cols[rows]), np.array([horizon])
        change[rows], owner[rows] = events.change(origins, horizons)[:, 0], events.owner(origins, horizons)[:, 0]
    return change, owner
