"""Models in memory: hot reload, cache, tiers and batched forecasts."""
