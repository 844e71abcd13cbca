"""Defaults of this installation: constants in upper case, named like the settings. The environment takes precedence."""

FEATURE_COUNT = 60
