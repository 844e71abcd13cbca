"""What every process tells about itself, and how metrics are shown. Each room declares its own."""

import platform

from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder

from predictive_scaling import __version__

BUILD_INFO = Gauge(
    "predictive_scaling_build_info",
    "1, with the version that runs.",
    ["version", "python_version"],
)
BUILD_INFO.labels(__version__, platform.python_version()).set(1)


def exposition(accept: str | None, registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """All metrics of the process and their content type, as the scraper's Accept header asks."""
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type
