"""Series in, quantile forecasts out. Pure: no clock, no network, no files but models."""
