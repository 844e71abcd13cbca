"""An authority in memory: callers by token, and the permissions that they have."""

from dataclasses import dataclass, field

from predictive_scaling.access.permission import Caller, Permission
from predictive_scaling.access.token_buckets import TokenBuckets
from predictive_scaling.api.access_control import AccessPolicy, Authority
from predictive_scaling.errors import AccessUnavailableError
from predictive_scaling.resources.namespace_patterns import UNRESTRICTED, NamespacePatterns

ADMIN, TENANT, STRANGER = "token-of-admin", "token-of-tenant", "token-of-stranger"
UNLIMITED = 1e6


@dataclass
class InMemoryAuthority:
    """Authenticator and Authorizer: the admin may do all, the tenant may read in its namespaces, others nothing."""

    tenant_namespaces: frozenset[str] = frozenset({"shop"})
    is_reachable: bool = True
    authenticated: list[str] = field(default_factory=list[str])
    """The tokens that were reviewed."""
    checked: list[tuple[str, Permission]] = field(default_factory=list[tuple[str, Permission]])

    def known(self, token: str) -> Caller | None:
        return None

    async def authenticate(self, token: str) -> Caller | None:
        self._require_reachable()
        self.authenticated.append(token)
        names = {ADMIN: "admin", TENANT: "tenant", STRANGER: "stranger"}
        return Caller(names[token]) if token in names else None

    async def allows(self, caller: Caller, permission: Permission) -> bool:
        self._require_reachable()
        self.checked.append((caller.name, permission))
        if caller.name == "tenant":
            return permission.verb in ("get", "list") and permission.namespace in self.tenant_namespaces
        return caller.name == "admin"

    def _require_reachable(self) -> None:
        if not self.is_reachable:
            raise AccessUnavailableError("access cannot be checked: Kubernetes did not answer; retry later")


def policy_of(
    authority: InMemoryAuthority,
    *,
    rate: float = UNLIMITED,
    public_telemetry: bool = True,
    services: NamespacePatterns = UNRESTRICTED,
) -> AccessPolicy:
    """Return the access policy of an authority."""
    return AccessPolicy(Authority(authority, authority), public_telemetry, TokenBuckets(rate), services)
