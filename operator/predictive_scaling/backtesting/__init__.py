"""A policy against recorded demand: the live decision code in a simulation, beside an HPA alone."""
