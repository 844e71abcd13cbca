"""Simulates the HPA under given floors: the part that the backtest and the tuner share."""
