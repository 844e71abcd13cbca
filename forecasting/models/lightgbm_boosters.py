"""LightGBM's boosters. LightGBM is imported on first use.

Its import takes half a CPU second, mostly for pandas and SciPy; a process that uses no trained model never pays it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from forecasting.features import Matrix
from forecasting.series import FloatArray

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset


def booster_from_text(text: str) -> "Booster":
    """Return a booster from LightGBM's text, which must be checked: damaged text crashes or hangs the process."""
    import lightgbm

    return lightgbm.Booster(model_str=text)


def training_data(matrix: Matrix, target: FloatArray, parameters: Mapping[str, object] | None = None) -> "Dataset":
    """Return rows to train boosters on, one or several. parameters: those that decide how features are binned."""
    import lightgbm

    contiguous = np.ascontiguousarray(matrix)
    return lightgbm.Dataset(contiguous, target, params=dict(parameters or {}), free_raw_data=parameters is None)


def train_booster(parameters: Mapping[str, object], rows: "Dataset", rounds: int) -> "Booster":
    """Train a booster of `rounds` trees."""
    import lightgbm

    return lightgbm.train(dict(parameters), rows, num_boost_round=rounds)
