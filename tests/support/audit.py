"""The rights of Roles, and those that service accounts used, from the audit log of the API server."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Right(NamedTuple):
    """A verb on a kind of object; `name`: of the only object, or empty."""

    group: str
    resource: str
    verb: str
    name: str = ""


def rights(rules: list[dict[str, Any]]) -> set[Right]:
    """Return the single rights of the rules of a Role or of a review."""
    return {
        Right(group, resource, verb, name)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
    }


class AuditedRequest(NamedTuple):
    """A request of a service account that was authorized, or refused with status 403."""

    user: str
    right: Right
    """With the name of the object where the request has one."""
    namespace: str
    status: int


@dataclass
class AuditLog:
    """The log of an API server of ClusterOptions.audited, which has a request before its response is complete."""

    file: Path
    _requests: list[AuditedRequest] = field(default_factory=list[AuditedRequest])
    _offset: int = 0

    def requests(self) -> list[AuditedRequest]:
        """Return the requests so far, oldest first; those of kubectl, by which tests look at the cluster, are not."""
        with self.file.open("rb") as log:
            log.seek(self._offset)
            complete = log.read().rpartition(b"\n")[0]
        self._offset += len(complete) + 1 if complete else 0
        self._requests += [request for line in complete.splitlines() if (request := _parse(line))]
        return self._requests

    def used_rights(self, user: str) -> set[Right]:
        """Return the rights, without names of objects, that authorized requests of a user needed."""
        authorized = [request for request in self.requests() if request.status != 403]
        return {request.right._replace(name="") for request in authorized if request.user == user}


def _parse(line: bytes) -> AuditedRequest | None:
    """None for a request without an object, such as discovery."""
    event = json.loads(line)
    reference = event.get("objectRef") or {}
    if "resource" not in reference or event.get("userAgent", "").startswith("kubectl"):
        return None
    resource = "/".join(reference[key] for key in ("resource", "subresource") if key in reference)
    right = Right(reference.get("apiGroup", ""), resource, event["verb"], reference.get("name", ""))
    status = event.get("responseStatus", {}).get("code", 0)
    return AuditedRequest(event["user"]["username"], right, reference.get("namespace", ""), status)
