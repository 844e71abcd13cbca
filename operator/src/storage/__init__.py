"""See predictive_scaling.storage."""
