"""Model artifacts on disk: manifest, registry, loading, probing, publishing and rollback."""
