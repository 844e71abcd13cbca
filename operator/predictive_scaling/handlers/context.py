"""What every handler shares: its context and the registry."""

from collections.abc import Callable
from dataclasses import dataclass

import kopf

from predictive_scaling.cluster.informer_cache import InformerCache


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """kopf's memo, created in bootstrap.py."""

    cache: InformerCache
    wake: Callable[[], None]
    """Requests a tick; calls before the tick starts are merged."""


REGISTRY = kopf.OperatorRegistry()
"""All handlers of the operator."""
