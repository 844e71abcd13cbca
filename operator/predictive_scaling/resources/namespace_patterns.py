"""Which names the policies of each namespace may use, as a setting of the installation allows it."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from pydantic import AfterValidator

from predictive_scaling.resources.matching import Matching

ALL_NAMESPACES: Final = "*"
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

NamePattern = Annotated[
    str, Matching(r"^[^\x00-\x1f\x7f]+$", "must be a name, or a pattern such as shop-*", max_length=512)
]


def _check_namespaces(patterns: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for namespace in patterns:
        if namespace != ALL_NAMESPACES and not _NAMESPACE.fullmatch(namespace):
            raise ValueError(f"{namespace!r} is neither the name of a namespace nor {ALL_NAMESPACES}")
    return patterns


PatternsByNamespace = Annotated[dict[str, tuple[NamePattern, ...]], AfterValidator(_check_namespaces)]
"""Names by namespace, or by `*` for all namespaces. In a name, `*` stands for any characters."""


class NamespacePatterns:
    """An allow-list of names by namespace. An empty list restricts nothing."""

    def __init__(self, patterns: Mapping[str, Iterable[str]] | None = None) -> None:
        self._patterns = {namespace: tuple(names) for namespace, names in (patterns or {}).items()}
        self._matchers = {namespace: _matcher(names) for namespace, names in self._patterns.items()}

    @property
    def is_restricted(self) -> bool:
        """Whether it lists anything: then a namespace may use only what is listed for it."""
        return bool(self._patterns)

    def allows(self, namespace: str, *names: str) -> bool:
        """Whether policies of the namespace may use an object that has these names.

        >>> services = NamespacePatterns({"shop": ["checkout", "shop-*"], "*": ["shared"]})
        >>> services.allows("shop", "shop-search"), services.allows("billing", "checkout")
        (True, False)
        """
        if not self._patterns:
            return True
        matchers = (self._matchers.get(namespace), self._matchers.get(ALL_NAMESPACES))
        return any(matcher is not None and matcher.fullmatch(name) for matcher in matchers for name in names)

    def allowed(self, namespace: str) -> tuple[str, ...]:
        """Return the names and patterns of a namespace; empty if it may use none, and if nothing is restricted."""
        shared = () if namespace == ALL_NAMESPACES else self._patterns.get(ALL_NAMESPACES, ())
        return tuple(dict.fromkeys((*self._patterns.get(namespace, ()), *shared)))

    def like(self) -> list[tuple[str, str]]:
        """Return each namespace, or `*`, with each of its patterns in the syntax of SQL's LIKE."""
        return [(namespace, _like(name)) for namespace, names in self._patterns.items() for name in names]


UNRESTRICTED: Final = NamespacePatterns()


def _matcher(names: Iterable[str]) -> re.Pattern[str]:
    # Without a name, a pattern that matches nothing.
    return re.compile("|".join(map(_expression, names)) or r"(?!)", re.DOTALL)


def _expression(name: str) -> str:
    """Return a regular expression for a pattern. Its atomic groups keep the time linear, whatever the name."""
    first, *parts = map(re.escape, name.split("*"))
    if not parts:
        return first
    *inner, last = parts
    return first + "".join(f"(?>.*?{part})" for part in inner) + f".*{last}"


def _like(name: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", name).replace("*", "%")
