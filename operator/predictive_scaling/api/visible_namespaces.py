"""The namespaces whose records a caller may see in a list."""

from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Annotated

from fastapi import Depends, Request

from predictive_scaling.resources.namespace_patterns import UNRESTRICTED, NamespacePatterns

SCOPE_KEY = "predictive_scaling.visible"


@dataclass(frozen=True, slots=True)
class Visible:
    """names: None for all namespaces, also those that have no records yet.

    services: whose forecasts are shown for a policy of each of these namespaces; forecasts from before a restriction
    are left out.
    """

    names: tuple[str, ...] | None = None
    services: NamespacePatterns = UNRESTRICTED

    @property
    def namespaces(self) -> list[str] | None:
        """The namespaces as a parameter of a query; None for all."""
        return None if self.names is None else list(self.names)

    @property
    def key(self) -> str:
        """A prefix of cache keys, without a slash: callers who see different namespaces share no cached response."""
        if self.names is None:
            return "all"
        shown = [*sorted(self.names), "", *(part for owned in sorted(self.services.like()) for part in owned)]
        return blake2b("\0".join(shown).encode(), digest_size=16).hexdigest()

    @property
    def readable(self) -> list[tuple[str, str]] | None:
        """The services by namespace as a parameter of a query; None for all."""
        return None if self.names is None or not self.services.is_restricted else self.services.like()

    def shows(self, service: str) -> bool:
        """Whether one of the namespaces may read the service."""
        return self.names is None or any(self.services.allows(name, service) for name in self.names)

    def reading(self, service: str) -> "Visible":
        """Return the part that may read the service."""
        if self.names is None:
            return self
        return replace(self, names=tuple(name for name in self.names if self.services.allows(name, service)))

    def within(self, namespace: str | None) -> "Visible":
        """Return the part in a namespace; None leaves it unchanged."""
        if namespace is None:
            return self
        return replace(self, names=(namespace,) if self.names is None or namespace in self.names else ())


def visible_of(request: Request) -> Visible:
    """Return what the caller of a list, or of a named object, may see."""
    # The access control sets it for these routes only: another route fails here, and shows nothing.
    visible: Visible = request.scope[SCOPE_KEY]
    return visible


async def _visible(request: Request) -> Visible:
    return visible_of(request)


VisibleNamespaces = Annotated[Visible, Depends(_visible)]
"""Injects the namespaces that the caller may see into the route of a list; of a named object its namespace."""
