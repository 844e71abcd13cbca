"""What a request needs, by method and path. A request that no rule matches is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from starlette.routing import compile_path

from predictive_scaling.access.permission import Permission
from predictive_scaling.api.request_limits import API_V1


class RuleKind(Enum):
    """How the objects of a request are named."""

    OPEN = auto()
    """Needs no token: probes, the documentation of the API, and the web page without its data."""
    TELEMETRY = auto()
    """Needs no token unless the settings say so; then it is a path."""
    OBJECT = auto()
    """The path names the namespace and the name of an object."""
    LIST = auto()
    """The objects of the namespace in the query, or of all namespaces that the caller may see."""
    CLUSTER = auto()
    """The objects of all namespaces together."""
    PATH = auto()
    """Nothing in a namespace: the path itself."""


@dataclass(frozen=True, slots=True)
class AccessRule:
    """verb: of Kubernetes. resource: empty where the path itself is authorized."""

    kind: RuleKind
    verb: str = ""
    resource: str = ""


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """The rule of a request with what its path names. path: of a role, see `role_path`."""

    rule: AccessRule
    path: str
    namespace: str | None = None
    name: str | None = None

    def permission(self, namespace: str | None = None) -> Permission:
        """Return the permission that the request needs. namespace: of a list; None for all namespaces."""
        if not self.rule.resource:
            return Permission(self.rule.verb, path=self.path)
        return Permission(self.rule.verb, self.rule.resource, self.namespace or namespace, self.name)


POLICIES, DECISIONS, EVENTS, BACKTESTS = "scalingpolicies", "scalingdecisions", "businessevents", "scalingbacktests"

_OPEN = AccessRule(RuleKind.OPEN)
_TELEMETRY = AccessRule(RuleKind.TELEMETRY, "get")
_POLICY = AccessRule(RuleKind.OBJECT, "get", POLICIES)
_BACKTEST = AccessRule(RuleKind.OBJECT, "get", BACKTESTS)
_POLICY_LIST = AccessRule(RuleKind.LIST, "list", POLICIES)

RULES: Mapping[tuple[str, str], AccessRule] = MappingProxyType(
    {
        ("GET", "/health/live"): _OPEN,
        ("GET", "/health/ready"): _OPEN,
        ("GET", "/"): _OPEN,
        ("GET", "/assets/{name}"): _OPEN,
        ("GET", "/docs"): _OPEN,
        ("GET", "/openapi.json"): _OPEN,
        ("GET", "/health"): _TELEMETRY,
        ("GET", "/metrics"): _TELEMETRY,
        ("GET", f"{API_V1}/policies"): _POLICY_LIST,
        ("GET", f"{API_V1}/policies/{{namespace}}/{{name}}"): _POLICY,
        ("GET", f"{API_V1}/policies/{{namespace}}/{{name}}/timeline"): _POLICY,
        ("GET", f"{API_V1}/policies/{{namespace}}/{{name}}/frontier"): _POLICY,
        ("GET", f"{API_V1}/policies/{{namespace}}/{{name}}/shadow"): _POLICY,
        ("GET", f"{API_V1}/policies/{{namespace}}/{{name}}/shadow/report"): _POLICY,
        ("GET", f"{API_V1}/scaling/status"): _POLICY_LIST,
        ("GET", f"{API_V1}/predictions"): _POLICY_LIST,
        ("GET", f"{API_V1}/predictions/current"): _POLICY_LIST,
        ("GET", f"{API_V1}/metrics/accuracy"): _POLICY_LIST,
        ("GET", f"{API_V1}/metrics/quality"): _POLICY_LIST,
        ("GET", f"{API_V1}/models"): _POLICY_LIST,
        ("GET", f"{API_V1}/changes"): _POLICY_LIST,
        ("GET", f"{API_V1}/scaling/decisions"): AccessRule(RuleKind.LIST, "list", DECISIONS),
        ("GET", f"{API_V1}/events"): AccessRule(RuleKind.LIST, "list", EVENTS),
        ("GET", f"{API_V1}/backtests"): AccessRule(RuleKind.LIST, "list", BACKTESTS),
        ("GET", f"{API_V1}/backtests/{{namespace}}/{{name}}"): _BACKTEST,
        ("GET", f"{API_V1}/backtests/{{namespace}}/{{name}}/report"): _BACKTEST,
        ("DELETE", f"{API_V1}/scaling/decisions/stuck"): AccessRule(RuleKind.CLUSTER, "update", POLICIES),
        ("POST", f"{API_V1}/models/reload"): AccessRule(RuleKind.PATH, "post"),
        ("GET", f"{API_V1}/commands/{{id}}"): AccessRule(RuleKind.PATH, "get"),
    }
)
"""All routes of the application; a test compares them. docs/http-api.md has them as a table."""


def role_path(path: str) -> str:
    """Return the non-resource URL that a role grants for a path or a template: up to its first parameter.

    Kubernetes lets all authenticated users get /api/* (the role system:discovery), so ours begins with another prefix.

    >>> role_path("/api/v1/commands/{id}"), role_path("/metrics")
    ('/predictive-scaling/commands', '/metrics')
    """
    prefix = path.partition("/{")[0]
    return f"/predictive-scaling{prefix.removeprefix(API_V1)}" if prefix.startswith(f"{API_V1}/") else prefix


# Patterns of the router itself, so that a path cannot match another rule here than its route there.
_PATTERNS = [
    (method, compile_path(template)[0], role_path(template), rule)
    for (method, template), rule in RULES.items()
    if "{" in template
]


def match_rule(method: str, path: str) -> RuleMatch | None:
    """Return the rule of a request; None if there is none, as for an unknown path."""
    method = "GET" if method == "HEAD" else method
    rule = RULES.get((method, path))
    if rule is not None and "{" not in path:
        return RuleMatch(rule, role_path(path))
    for rule_method, pattern, prefix, pattern_rule in _PATTERNS:
        match = pattern.match(path) if rule_method == method else None
        if match is not None:
            named = match.groupdict()
            return RuleMatch(pattern_rule, prefix, named.get("namespace"), named.get("name"))
    return None


def methods_of(path: str) -> set[str]:
    """Return the methods that a path supports; empty for an unknown path."""
    return {method for method, _ in RULES if match_rule(method, path) is not None}
