"""Tuning of each policy: its frontier over the last days, the quantile that its prices select, and advice."""
