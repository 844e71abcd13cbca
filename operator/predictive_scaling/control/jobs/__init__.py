"""Background work of the leader, one module for each task."""
