"""Prometheus remote write 1.0: an HTTP receiver whose samples are in the database before it answers."""
