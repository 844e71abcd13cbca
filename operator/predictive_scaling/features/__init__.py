"""The newest features of each service, for people and for the API."""

from predictive_scaling.features.store import FeatureStore

__all__ = ["FeatureStore"]
