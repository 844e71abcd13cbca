"""Simulation of the HPA under given floors, shared by the backtest and the tuner."""
