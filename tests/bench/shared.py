"""How good the model is that many series share, on the series that it learned from and on those that it never saw."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from forecasting.calibration import calibrated
from forecasting.models.shared import NAME, SharedLightGBM, walk_forward_shared
from forecasting.series import Series
from forecasting.walk_forward import WalkForward
from predictive_scaling.clock import monotonic
from tests.bench.accuracy import SPLIT, Accuracy, coverages
from tests.bench.traces import STEP, Say
from tests.bench.verdicts import HORIZON_MINUTES

UNSEEN = f"{NAME}, series unseen"
"""Each series is forecast by what the others taught: as a new service is."""
_FEWEST = 3
_MINUTE = 60


def shared_accuracies(series: Mapping[str, Series], refits: int, say: Say) -> dict[str, dict[str, Accuracy]]:
    """By series, then method; nothing where fewer than three series of five minutes can share a model."""
    alike = {name: one for name, one in series.items() if one.step == STEP}
    found: dict[str, dict[str, Accuracy]] = {name: {} for name in alike}
    if len(alike) < _FEWEST:
        return {}
    kind = SharedLightGBM(replace(SharedLightGBM().model, threads=2))
    # For each series that nobody has seen the model is another: once is enough of that.
    for method, leave_one_out, often in ((NAME, False, refits), (UNSEEN, True, 1)):
        say(f"{method}: {len(alike)} series, {often} fits")
        began = monotonic()
        bins = np.array([minutes * _MINUTE // round(STEP.total_seconds()) for minutes in HORIZON_MINUTES])
        walks = walk_forward_shared([*alike.values()], kind, SPLIT, often, bins, leave_one_out=leave_one_out)
        seconds = (monotonic() - began) / len(alike)
        for name, walk in zip(alike, walks, strict=True):
            found[name][method] = _accuracy(walk, often, seconds)
    return found


def _accuracy(walk: WalkForward, refits: int, seconds: float) -> Accuracy:
    return Accuracy(tuple(walk.wape().tolist()), coverages(calibrated(walk)), coverages(walk), refits, seconds)
