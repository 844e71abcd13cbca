"""Whose turn it is: work for several namespaces is done in turns, so that many objects of one delay no other."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class NamespaceTurns:
    """Remembers the last turn of each namespace."""

    _last: dict[str, int] = field(default_factory=dict[str, int])
    _taken: int = 0

    def order(self, items: Iterable[Item], namespace_of: Callable[[Item], str]) -> list[Item]:
        """Return all items: one of each namespace, then another one of each, and so on.

        The namespace whose last turn is longest ago comes first; the items of a namespace keep their order.
        """
        by_namespace = grouped(items, namespace_of)
        self._last = {namespace: turn for namespace, turn in self._last.items() if namespace in by_namespace}
        namespaces = sorted(by_namespace, key=lambda namespace: (self._last.get(namespace, 0), namespace))
        places = [
            (round_, place, item)
            for place, namespace in enumerate(namespaces)
            for round_, item in enumerate(by_namespace[namespace])
        ]
        places.sort(key=lambda entry: entry[:2])
        return [item for _, _, item in places]

    def take(self, namespaces: Iterable[str]) -> None:
        """Remember that namespaces had a turn, in this order; a namespace may have had several."""
        for namespace in namespaces:
            self._taken += 1
            self._last[namespace] = self._taken


def grouped(items: Iterable[Item], namespace_of: Callable[[Item], str]) -> Mapping[str, list[Item]]:
    """Return the items of each namespace, in their order."""
    by_namespace: dict[str, list[Item]] = {}
    for item in items:
        by_namespace.setdefault(namespace_of(item), []).append(item)
    return by_namespace
