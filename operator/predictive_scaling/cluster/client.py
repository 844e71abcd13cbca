"""The client of the API server: JSON in, JSON out, and the mapping of its errors to ours.

Objects stay dictionaries: the generated models would cost more than the rest of a tick of thousands of policies.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import yaml
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from predictive_scaling.errors import (
    ClusterUnavailableError,
    ExtensionUnavailableError,
    PredictiveScalingError,
    RequestFailedError,
    RequestTimedOutError,
    SettingsError,
)
from predictive_scaling.resources.metadata import GROUP

FIELD_MANAGER: Final = "predictive-scaling"
REQUEST_TIMEOUT_SECONDS: Final = 4.0
"""Below the slack of a lease (15 s, renewed until 10 s): a write that started in time ends before the lease does."""

Json = dict[str, Any]

_JSON = "application/json"
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_EDIT = "application/json-patch+json"
_TRANSIENT = frozenset({0, 401, 408, 429, 500, 502, 503, 504})
_SERVER_FAILURES = frozenset({0, 401})
"""Failures that affect all requests: no status, or rejected credentials."""
_GATEWAY_FAILURES = frozenset({502, 503, 504})
"""Status codes of a proxy in front of the API server, unless the body is a Status, which only the API server writes."""


class ObjectNotFoundError(PredictiveScalingError):
    """The API server has no such object."""

    reason = "NotFound"


class ObjectConflictError(PredictiveScalingError):
    """The API server refused a write because of another write: an existing name, a field of another manager."""

    reason = "Conflict"


class ObjectRefusedError(PredictiveScalingError):
    """The API server refused a request permanently."""

    reason = "Refused"


class Cluster:
    """An API server. Safe for concurrent use; every request ends within `timeout_seconds`.

    All methods raise ObjectNotFoundError, ObjectConflictError, ObjectRefusedError or ClusterUnavailableError, with
    the API server's message. The subclasses RequestFailedError (a webhook's 500, a 429) and RequestTimedOutError
    concern a single request, and ExtensionUnavailableError those to one API group; otherwise a ClusterUnavailableError
    means that the API server cannot be reached.
    """

    def __init__(
        self,
        client: kubernetes_client.ApiClient,
        timeout_seconds: float = REQUEST_TIMEOUT_SECONDS,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._may_write = may_write

    def fenced(self, may_write: Callable[[], bool]) -> "Cluster":
        """Return the same API server for the writes of a leader.

        While `may_write()` is false, a write raises ClusterUnavailableError and is not sent. It is asked last, because
        a process that was frozen continues in the middle of whatever it did.
        """
        return Cluster(self._client, self._timeout_seconds, may_write)

    async def get(self, path: str) -> Json:
        """Return an object. path: such as /apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/checkout."""
        return await self._send("GET", path)

    async def items(self, path: str, *, page: int = 500, **query: str) -> list[Json]:
        """Return all objects of a collection, read in pages."""
        return await self._pages(path, query | {"limit": str(page)}, _JSON)

    async def first_page(self, path: str, *, limit: int, **query: str) -> list[Json]:
        """Return at most `limit` objects of a collection, in one request."""
        return (await self._send("GET", path, query=query | {"limit": str(limit)})).get("items") or []

    async def metadata(self, path: str, *, page: int = 500) -> list[Json]:
        """Return all objects of a collection without spec and status, read in pages."""
        return await self._pages(path, {"limit": str(page)}, _METADATA)

    async def _pages(self, path: str, query: dict[str, str], accept: str) -> list[Json]:
        items: list[Json] = []
        while True:
            listed = await self._send("GET", path, query=query, accept=accept)
            items += listed.get("items") or ()  # null in an empty list of metadata
            next_page = listed.get("metadata", {}).get("continue")
            if not next_page:
                return items
            query |= {"continue": next_page}

    async def create(self, path: str, body: Json) -> Json:
        """Create an object and return it. Raises ObjectConflictError if the name exists."""
        return await self._send("POST", path, body=body, query={"fieldManager": FIELD_MANAGER})

    async def replace(self, path: str, body: Json) -> Json:
        """Replace the object; a resourceVersion in the body must be the current one."""
        return await self._send("PUT", path, body=body, query={"fieldManager": FIELD_MANAGER})

    async def apply(self, path: str, body: Json, *, force: bool = False) -> Json:
        """Server-side apply as FIELD_MANAGER: the body has all fields that we own; missing fields are given up."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return await self._send("PATCH", path, body=body, query=query, content_type=_APPLY)

    async def merge(self, path: str, body: Json) -> Json:
        """Merge patch (RFC 7386)."""
        return await self._send("PATCH", path, body=body, query={"fieldManager": FIELD_MANAGER}, content_type=_MERGE)

    async def edit(self, path: str, operations: list[Json]) -> Json:
        """JSON patch (RFC 6902); a failed `test` operation raises ObjectRefusedError."""
        query = {"fieldManager": FIELD_MANAGER}
        return await self._send("PATCH", path, body=operations, query=query, content_type=_EDIT)

    async def delete(self, path: str, *, uid: str | None = None) -> None:
        """Delete in the background. Raises ObjectNotFoundError if the object does not exist.

        uid: of the object that is meant; raises ObjectConflictError if another object has its name.
        """
        # In the body, as leadership is checked again when a body is sent.
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        await self._send("DELETE", path, body=options | ({"preconditions": {"uid": uid}} if uid else {}))

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: Json | list[Json] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> Json:
        call = f"{method} {path}"
        try:
            async with asyncio.timeout(self._timeout_seconds):
                request = await self._client.param_serialize(
                    method,
                    path,
                    query_params=list((query or {}).items()),
                    header_params={"Accept": accept, "Content-Type": content_type},
                    body=body,
                    auth_settings=["BearerToken"],
                )
                if method != "GET":
                    self._check_leadership(call)
                    _check_before_send.set(lambda: self._check_leadership(call))
                response = await self._client.call_api(*request, _request_timeout=self._timeout_seconds)
                content = await response.read()
        except aiohttp.ConnectionTimeoutError as error:
            raise ClusterUnavailableError(f"The Kubernetes API server did not answer {call}: {error}") from error
        except TimeoutError as error:
            message = f"The Kubernetes API server did not answer {call} within {self._timeout_seconds:g} s"
            raise (ExtensionUnavailableError if _is_extension(path) else RequestTimedOutError)(message) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, ClusterUnavailableError):
                raise error.__cause__ from None
            cause = str(error) or type(error).__name__
            raise ClusterUnavailableError(f"The Kubernetes API server did not answer {call}: {cause}") from error
        try:
            return _read(response.status, content or b"", call, response.headers.get("Retry-After"))
        except _GatewayError as error:
            raise (ExtensionUnavailableError if _is_extension(path) else ClusterUnavailableError)(str(error)) from error

    def _check_leadership(self, call: str) -> None:
        if not self._may_write():
            raise ClusterUnavailableError(f"leadership was lost before {call}; not sent")


_check_before_send: ContextVar[Callable[[], None]] = ContextVar("check_before_send")
"""Raises where the write of the current task may not be sent; a task that only reads has none."""


async def _stop_late_write(_session: aiohttp.ClientSession, _context: object, _chunk: object) -> None:
    """Drop a request whose first bytes would be sent now, after it waited for a connection or for the event loop."""
    if check := _check_before_send.get(None):
        check()


def _is_extension(path: str) -> bool:
    """Whether the server of a path may be another one: an aggregated API, or a webhook that converts custom resources.

    Groups without a dot and those of Kubernetes are the API server's own, except metrics, which are aggregated. Our own
    resources need no conversion.
    """
    root, _, rest = path.lstrip("/").partition("/")
    group = rest.partition("/")[0] if root == "apis" else ""
    if "." not in group or group == GROUP:
        return False
    return not group.endswith(".k8s.io") or group.endswith("metrics.k8s.io")


class _GatewayError(Exception):
    """A response that a proxy in front of the API server, or the API server as the proxy of another API, made."""


def _read(status: int, content: bytes, call: str, retry_after: str | None = None) -> Json:
    body: Json = _object(content)
    if status < 400:
        if "kind" in body:
            return body
        # Such as a login page. Read as a list, it would have no items, and every object would seem to be deleted.
        excerpt = content[:200].decode(errors="replace")
        message = f"{call}: the response is not a Kubernetes object: {excerpt!r}"
        raise _GatewayError(f"{message}; check the proxy in front of the API server")
    message = f"{call}: {body.get('message') or status}"
    if status in (404, 410):
        raise ObjectNotFoundError(message)
    if status == 409:
        raise ObjectConflictError(message)
    if status in _TRANSIENT:
        message = f"The Kubernetes API server could not process {message}; the request is repeated"
        if status in _SERVER_FAILURES:
            raise ClusterUnavailableError(message)
        if status in _GATEWAY_FAILURES and body.get("kind") != "Status":
            raise _GatewayError(message)
        raise RequestFailedError(message, _seconds(retry_after))
    raise ObjectRefusedError(message)


def _object(content: bytes) -> Json:
    """The JSON object of a response; other content, such as a gateway's page, as a message."""
    if not content:
        return {}
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"message": content[:200].decode(errors="replace")}


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After in seconds, as sent by the API server; None if it is absent or a date."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


@asynccontextmanager
async def connected(
    kubeconfig: Path | None = None, *, connections: int = 64, timeout_seconds: float = REQUEST_TIMEOUT_SECONDS
) -> AsyncGenerator[Cluster]:
    """Connect to the cluster of `kubeconfig`, or of this pod, or of KUBECONFIG (or ~/.kube/config).

    connections: maximum number of requests in flight. Raises SettingsError if no cluster is configured.
    """
    configuration = await _configuration(kubeconfig)
    configuration.connection_pool_maxsize = connections
    configuration.proxy = configuration.proxy or _proxy_of(configuration.host)
    # By default the session would read the environment and ~/.netrc at each request.
    tracing = aiohttp.TraceConfig()
    tracing.on_request_chunk_sent.append(_stop_late_write)
    configuration.client_session_kwargs = {"trust_env": False, "trace_configs": [tracing]}
    client = kubernetes_client.ApiClient(configuration)
    try:
        yield Cluster(client, timeout_seconds)
    finally:
        await client.close()


def _proxy_of(host: str) -> str | None:
    """The proxy for the API server from HTTPS_PROXY or HTTP_PROXY; None if NO_PROXY excludes the server."""
    address = urlsplit(host)
    if address.hostname is None or proxy_bypass(address.hostname):
        return None
    return getproxies().get(address.scheme)


async def _configuration(kubeconfig: Path | None) -> kubernetes_client.Configuration:
    configuration = kubernetes_client.Configuration()
    try:
        if kubeconfig is not None:
            path = str(kubeconfig)
            await kubernetes_config.load_kube_config(config_file=path, client_configuration=configuration)
        elif "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
            kubernetes_config.load_incluster_config(configuration)
        else:
            # KUBECONFIG may list several files. The library reads it only when it is imported; then ~/.kube/config.
            files = os.environ.get("KUBECONFIG") or None
            await kubernetes_config.load_kube_config(config_file=files, client_configuration=configuration)
    except kubernetes_config.ConfigException as error:
        raise SettingsError(
            f"No cluster is configured: {error}. Run inside a pod with a service account, or set KUBECONFIG."
        ) from error
    except (yaml.YAMLError, AttributeError, TypeError, UnicodeDecodeError) as error:
        # The message may quote the file, which has credentials.
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" in line {mark.line + 1}"
        raise SettingsError(f"the kubeconfig is no valid YAML document{place}; correct KUBECONFIG") from None
    return configuration
