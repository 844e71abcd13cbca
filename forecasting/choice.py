"""Which model a policy asks for."""

from enum import StrEnum


class ModelChoice(StrEnum):
    """`spec.forecast.model`. Auto: LightGBM while it passes the gate, the best naive one otherwise."""

    AUTO = "Auto"
    LIGHTGBM = "LightGBM"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL_NAIVE = "SeasonalNaive"
