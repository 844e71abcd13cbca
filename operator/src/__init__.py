"""The runbook's import paths. Everything here is the product's own object, re-exported by name."""
