"""Backtest of a policy on recorded demand: the live decision code in a simulation, compared with an HPA alone."""
