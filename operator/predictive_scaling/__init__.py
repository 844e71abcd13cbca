"""A Kubernetes operator that scales ahead of demand."""

__version__ = "0.1.0"
