"""What every process tells about itself, and how metrics are shown. Each room declares its own."""

import platform

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from predictive_scaling import __version__

BUILD_INFO = Gauge(
    "predictive_scaling_build_info",
    "1, with the version that runs.",
    ["version", "python_version"],
)
BUILD_INFO.labels(__version__, platform.python_version()).set(1)

# Two processes observe it, so it stands here: a name is registered once.
PREDICTION_LATENCY = Histogram(
    "prediction_latency_seconds",
    "How long forecasts take: operation `make` (the operator, all policies of a refresh), `serve` (the HTTP API).",
    ["operation"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
MAKE, SERVE = "make", "serve"


def exposition(accept: str | None, registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """All metrics of the process and their content type, as the scraper's Accept header asks."""
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type
