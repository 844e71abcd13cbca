"""Sources of recorded demand: CSV, Prometheus and the database."""
