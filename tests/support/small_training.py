"""A training of small models, for tests that assert nothing about their accuracy: it takes a fifth of the time."""

from functools import partial

from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.shared import SharedLightGBM
from predictive_scaling.commands import train
from predictive_scaling.training import trainer

_SMALL_MODEL = partial(LightGBMQuantiles, rounds=25, rows=4000, peak_rows=2000, peak_rounds=15)


def train_small_models() -> None:
    """Let `predictive-scaling train` of this process use few trees and few rows."""
    train.LightGBMQuantiles = _SMALL_MODEL
    trainer.SharedLightGBM = partial(SharedLightGBM, _SMALL_MODEL())
