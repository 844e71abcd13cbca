"""The import paths of the runbook resolve to the objects of the product."""

import predictive_scaling.features
import predictive_scaling.storage.database
import src.features
import src.storage.database


def test_the_engine_is_one_object_under_both_names() -> None:
    assert src.storage.database.engine is predictive_scaling.storage.database.engine


def test_the_feature_store_is_one_class_under_both_names() -> None:
    assert src.features.FeatureStore is predictive_scaling.features.FeatureStore
