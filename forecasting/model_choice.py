"""The choice of a forecasting model."""

from enum import StrEnum


class ModelChoice(StrEnum):
    """Which model forecasts: `spec.forecast.model` of a ScalingPolicy.

    AUTO: LightGBM where it passes the quality gate, otherwise the best naive model. Any other choice acts wherever it
    can forecast, also when the gate rejects it.
    """

    AUTO = "Auto"
    LIGHTGBM = "LightGBM"
    HOLT_WINTERS = "HoltWinters"
    SEASONAL_NAIVE = "SeasonalNaive"
