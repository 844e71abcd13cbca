"""Leading indicators: series that run ahead of demand, such as the requests of an upstream service."""

from forecasting.leading.correction import Correction
from forecasting.leading.indicator import Indicator
from forecasting.leading.past_forecasts import PastForecasts
from forecasting.leading.study import Finding, IndicatorStudy, Use, study_indicators

__all__ = ["Correction", "Finding", "Indicator", "IndicatorStudy", "PastForecasts", "Use", "study_indicators"]
