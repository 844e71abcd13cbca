"""Defaults of this installation: constants in capitals, named as the settings are. The environment wins over them."""

FEATURE_COUNT = 60
