"""Who calls the HTTP API, and what a request needs. Values only; authenticators and authorizers decide."""

from dataclasses import dataclass
from typing import Protocol

from predictive_scaling.resources.metadata import GROUP


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user, as Kubernetes describes it. uid, groups and extra are empty for a static token."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """A verb on a resource of the group predictive-scaling.io, or on a path that belongs to no namespace.

    namespace: None for all namespaces. name: None for all objects. path: set instead of a resource.
    """

    verb: str
    resource: str = ""
    namespace: str | None = None
    name: str | None = None
    path: str | None = None

    def __str__(self) -> str:
        """Return the permission as words, such as `list scalingpolicies.predictive-scaling.io in namespace shop`."""
        if self.path is not None:
            return f"{self.verb} the path {self.path}"
        objects = f"{self.resource}.{GROUP}" if self.name is None else f"{self.resource}.{GROUP} {self.name}"
        where = "in all namespaces" if self.namespace is None else f"in namespace {self.namespace}"
        return f"{self.verb} {objects} {where}"


class Authenticator(Protocol):
    """Names the caller of a token."""

    def known(self, token: str) -> Caller | None:
        """Return the caller of a token that is known to be valid without a request to another server."""
        ...

    async def authenticate(self, token: str) -> Caller | None:
        """Return the caller of a token; None if it is not valid. Raises AccessUnavailableError."""
        ...


class Authorizer(Protocol):
    """Decides what a caller may do."""

    async def allows(self, caller: Caller, permission: Permission) -> bool:
        """Whether the caller has a permission. Raises AccessUnavailableError."""
        ...
