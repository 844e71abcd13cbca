"""Carries out decisions: records the intent, writes the target, verifies and recovers."""
