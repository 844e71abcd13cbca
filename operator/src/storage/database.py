"""See predictive_scaling.storage.database."""

from predictive_scaling.storage.database import engine

__all__ = ["engine"]
