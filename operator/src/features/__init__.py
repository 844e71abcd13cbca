"""See predictive_scaling.features."""

from predictive_scaling.features import FeatureStore

__all__ = ["FeatureStore"]
