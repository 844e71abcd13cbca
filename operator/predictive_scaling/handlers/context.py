"""What every handler is given: the operator's parts that a watch event concerns."""

from collections.abc import Callable
from dataclasses import dataclass

import kopf

from predictive_scaling.cluster.informer_cache import Inventory


@dataclass(frozen=True, slots=True)
class Process:
    """kopf's memo, made in bootstrap.py."""

    inventory: Inventory
    wake: Callable[[], None]
    """Asks for a tick, from any thread; many calls before it begins are one."""


REGISTRY = kopf.OperatorRegistry()
"""All handlers of the operator."""
