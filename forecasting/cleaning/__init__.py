"""Irregular samples, counters and outliers become a regular series."""
