"""Metrics of all processes and the exposition format. Packages declare their own metrics."""

import platform

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from predictive_scaling import __version__

BUILD_INFO = Gauge(
    "predictive_scaling_build_info",
    "Constant 1, labelled with the running version.",
    ["version", "python_version"],
)
BUILD_INFO.labels(__version__, platform.python_version()).set(1)

# Declared here because two processes observe it and a name can be registered only once.
PREDICTION_LATENCY = Histogram(
    "prediction_latency_seconds",
    "Duration of forecasts by operation: `make` (operator, all policies of a refresh), `serve` (HTTP API).",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
MAKE, SERVE = "make", "serve"


def exposition(accept: str | None, registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """Return all metrics of the process and their content type, negotiated from the Accept header."""
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type
