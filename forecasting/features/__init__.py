"""What a model looks at: the recent past relative to its level, the same time on earlier days, and the calendar."""

from forecasting.features.column import Feature
from forecasting.features.matrix import FEATURES, Built, Matrix, build

__all__ = ["FEATURES", "Built", "Feature", "Matrix", "build"]
