"""What every handler is given: the operator's parts that a watch event concerns."""

from collections.abc import Callable
from dataclasses import dataclass

import kopf

from predictive_scaling.cluster.informer_cache import InformerCache


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """kopf's memo, made in bootstrap.py."""

    cache: InformerCache
    wake: Callable[[], None]
    """Asks for a tick, from any thread; many calls before it begins are one."""


REGISTRY = kopf.OperatorRegistry()
"""All handlers of the operator."""
