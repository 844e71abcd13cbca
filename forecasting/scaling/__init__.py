"""Replicas from forecasts: floors, the simulated HPA, the frontier and the tuner."""
