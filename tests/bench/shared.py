"""Accuracy of the shared model, on the series of its training and on series that it was not trained on."""

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
"""Each series is forecast by a model trained on the others, as a new service is."""
_MIN_SERIES = 3
_MINUTE = 60


def shared_accuracies(series: Mapping[str, Series], refits: int, say: Say) -> dict[str, dict[str, Accuracy]]:
    """Return the accuracy by series, then method; empty for fewer than three series with bins of five minutes."""
    same_step = {name: item for name, item in series.items() if item.step == STEP}
    accuracy_by_series: dict[str, dict[str, Accuracy]] = {name: {} for name in same_step}
    if len(same_step) < _MIN_SERIES:
        return {}
    forecaster = SharedLightGBM(replace(SharedLightGBM().model, threads=2))
    # Each unseen series has its own model, so that a single fit takes long enough.
    for method, leave_one_out, fits in ((NAME, False, refits), (UNSEEN, True, 1)):
        say(f"{method}: {len(same_step)} series, {fits} fits")
        started_at = monotonic()
        bins = np.array([minutes * _MINUTE // round(STEP.total_seconds()) for minutes in HORIZON_MINUTES])
        walks = walk_forward_shared([*same_step.values()], forecaster, SPLIT, fits, bins, leave_one_out=leave_one_out)
        seconds = (monotonic() - started_at) / len(same_step)
        for name, walk in zip(same_step, walks, strict=True):
            accuracy_by_series[name][method] = _accuracy(walk, fits, seconds)
    return accuracy_by_series


def _accuracy(walk: WalkForward, refits: int, seconds: float) -> Accuracy:
    return Accuracy(tuple(walk.wape().tolist()), coverages(calibrated(walk)), coverages(walk), refits, seconds)
