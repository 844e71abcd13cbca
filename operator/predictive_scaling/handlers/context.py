"""What every handler shares: its context."""

from collections.abc import Callable
from dataclasses import dataclass

from predictive_scaling.cluster.informer_cache import InformerCache


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """kopf's memo, created in bootstrap.py."""

    cache: InformerCache
    wake: Callable[[], None]
    """Requests a tick; calls before the tick starts are merged."""
