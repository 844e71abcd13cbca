"""Which model a policy asks for."""

from enum import StrEnum


class ModelChoice(StrEnum):
    """`spec.forecast.model`. Auto: LightGBM where it passes the gate, the best naive one otherwise.

    Each of the others acts wherever it can forecast, whatever the gate says.
    """

    AUTO = "Auto"
    LIGHTGBM = "LightGBM"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL_NAIVE = "SeasonalNaive"
