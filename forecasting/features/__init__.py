"""The features of models: recent demand relative to its level, the same time on earlier days, and the calendar."""

from forecasting.features.column import Feature
from forecasting.features.matrix import FEATURES, FeatureMatrix, Matrix, build_features

__all__ = ["FEATURES", "Feature", "FeatureMatrix", "Matrix", "build_features"]
