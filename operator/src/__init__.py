"""Import paths that the runbook uses; each module re-exports objects of predictive_scaling."""
