"""Scores, drift and the quality gate."""
