"""kubectl as a subprocess, and direct requests to the same API server, which are faster."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from predictive_scaling.stack.kubernetes import Kubernetes
from tests.support.eventually import eventually

_GROUP = "/apis/predictive-scaling.io/v1alpha1"
_COLLECTIONS: Mapping[str, tuple[str, str]] = {
    "lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "pod": ("/api/v1", "pods"),
    "pods": ("/api/v1", "pods"),
    "businessevents": (_GROUP, "businessevents"),
    "be": (_GROUP, "businessevents"),
    "deployment": ("/apis/apps/v1", "deployments"),
    "deployments": ("/apis/apps/v1", "deployments"),
    "events.events.k8s.io": ("/apis/events.k8s.io/v1", "events"),
    "horizontalpodautoscalers": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "hpa": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "scaledobject": ("/apis/keda.sh/v1alpha1", "scaledobjects"),
    "scalingdecisions": (_GROUP, "scalingdecisions"),
    "scalingpolicies": (_GROUP, "scalingpolicies"),
    "scalingpolicy": (_GROUP, "scalingpolicies"),
    "sb": (_GROUP, "scalingbacktests"),
    "sd": (_GROUP, "scalingdecisions"),
    "sp": (_GROUP, "scalingpolicies"),
}
"""The API group and the plural of each kind that tests read, by the names that kubectl accepts for it."""
_PLURALS: Mapping[str, str] = {
    "BusinessEvent": "businessevents",
    "Deployment": "deployments",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "ScaledObject": "scaledobjects",
    "ScalingPolicy": "scalingpolicies",
}
"""The plural of each kind that many tests create."""
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_GO_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})
_TIMEOUT = aiohttp.ClientTimeout(total=120)
_APPLY = ("apply", "--openapi-patch=false")
"""kubectl merges standard kinds by its own schemas, and reads none from the API server: half of its CPU time."""
_WAITING = ("delete", "wait")
_WAIT_LIMIT = "--timeout=300s"
"""Of the commands that wait for a state: by default `kubectl wait` gives up after 30 s, and `delete` never."""


class KubectlError(AssertionError):
    """An error of kubectl or the API server, with its message."""


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl in one namespace: `await kubectl("get", "hpa", "-o", "name")` returns what it printed."""

    program: Path
    kubeconfig: Path
    namespace: str = "default"

    async def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Raises KubectlError with kubectl's message."""
        limit = (_WAIT_LIMIT,) if arguments[0] in _WAITING else ()
        process = await asyncio.create_subprocess_exec(
            *(self.program, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace, *arguments, *limit),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, stderr = await process.communicate((stdin or "").encode())
        if process.returncode:
            raise KubectlError(f"kubectl {' '.join(map(str, arguments))}: {stderr.decode().strip()}")
        return output.decode()

    async def apply(self, *manifests: dict[str, Any]) -> str:
        """`kubectl apply` of objects; the requests that create some of them are sent without starting kubectl.

        Raises KubectlError with kubectl's message.
        """
        output: list[str] = []
        for at, manifest in enumerate(manifests):
            if not await self._is_created(manifest):
                output.append(await self(*_APPLY, "-f", "-", stdin=yaml.safe_dump_all(manifests[at:])))
                break
            output.append(f"{manifest['kind'].lower()}/{manifest['metadata']['name']} created")
        return "\n".join(output)

    async def apply_file(self, path: Path) -> str:
        """`kubectl apply` of a file or a folder."""
        return await self(*_APPLY, "-f", path)

    async def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object. Raises KubectlError when it does not exist or the API server does not answer."""
        return await self._request("GET", kind, f"/{name}")

    async def items(self, kind: str) -> Sequence[dict[str, Any]]:
        """All objects of a kind in the namespace. Raises KubectlError when the API server does not answer."""
        return (await self._request("GET", kind))["items"]

    async def delete_all(self, kind: str) -> None:
        """Delete all objects of a kind in the namespace. Raises KubectlError when the API server does not answer."""
        await self._request("DELETE", kind)

    async def validate(self, kind: str, manifest: dict[str, Any]) -> None:
        """`kubectl create --dry-run=server --validate=strict`. Raises KubectlError with each invalid field."""
        await self._request("POST", kind, "?dryRun=All&fieldValidation=Strict", manifest)

    async def create_namespace(self) -> None:
        """Create the namespace. Raises KubectlError when it exists or the API server does not answer."""
        await self._request_once("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})

    async def _is_created(self, manifest: dict[str, Any]) -> bool:
        """Whether the object was created, as `kubectl apply` does; False if it exists, is invalid or of other kinds."""
        if manifest["kind"] not in _PLURALS:
            return False
        metadata: dict[str, Any] = {"annotations": {}, "namespace": self.namespace, **manifest["metadata"]}
        applied = json.dumps(
            manifest | {"metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).translate(_GO_ESCAPES)
        annotated = metadata | {"annotations": metadata["annotations"] | {_LAST_APPLIED: applied + "\n"}}
        path = f"/apis/{manifest['apiVersion']}/namespaces/{metadata['namespace']}/{_PLURALS[manifest['kind']]}"
        query = "?fieldManager=kubectl-client-side-apply&fieldValidation=Strict"
        try:
            await self._request_once("POST", path + query, manifest | {"metadata": annotated})
        except KubectlError:
            return False
        return True

    async def _request(
        self, method: str, kind: str, rest: str = "", content: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Send a request; as kubectl does, repeat it while an API server that just started responds with 429."""
        group, plural = _COLLECTIONS[kind]
        path = f"{group}/namespaces/{self.namespace}/{plural}{rest}"
        for _ in range(20):
            try:
                return await self._request_once(method, path, content)
            except KubectlError as error:
                if "initializing" not in str(error):
                    raise
                await asyncio.sleep(1)
        return await self._request_once(method, path, content)

    async def _request_once(self, method: str, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        server, session = _api_server(self.kubeconfig), _session(self.kubeconfig)
        url = server.url + path
        try:
            async with session.request(method, url, json=content, ssl=server.trust) as response:
                body = await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise KubectlError(f"{method} {url}: {error!r}") from error
        if not response.ok:
            causes = [f"\n* {cause.get('field')}: {cause['message']}" for cause in _causes(body)]
            raise KubectlError(f"{method} {url}: {body.get('message', response.status)}{''.join(causes)}")
        return body


def _causes(status: dict[str, Any]) -> list[dict[str, str]]:
    """Return what makes an object invalid, which kubectl prints as a list."""
    return status.get("details", {}).get("causes", []) if status.get("reason") == "Invalid" else []


async def create_quota(kubectl: Kubectl, name: str, *, pods: int) -> None:
    """Create a quota, and wait until the API server enforces it: admission reads the limits of its status."""
    await kubectl("create", "quota", name, f"--hard=pods={pods}")

    async def enforced_limit() -> str:
        return await kubectl("get", "quota", name, "-o", "jsonpath={.status.hard.pods}")

    await eventually(enforced_limit, str(pods).__eq__)


async def wait_for_rights(user: Kubectl, *kinds: str) -> None:
    """Wait until a user may list these kinds.

    The API server authorizes requests from a cache, which a role and its bindings reach a moment later.
    """
    for kind in kinds:
        await eventually(lambda kind=kind: user.items(kind), lambda _: True)


@dataclass(frozen=True)
class _ApiServer:
    url: str
    headers: Mapping[str, str]
    trust: ssl.SSLContext


_sessions: dict[tuple[asyncio.AbstractEventLoop, Path], aiohttp.ClientSession] = {}
"""Tests read objects ten times a second: a connection for each request would take half of their time."""


def _session(kubeconfig: Path) -> aiohttp.ClientSession:
    key = asyncio.get_running_loop(), kubeconfig
    if key not in _sessions:
        _sessions[key] = aiohttp.ClientSession(timeout=_TIMEOUT, headers=_api_server(kubeconfig).headers)
    return _sessions[key]


async def close_connections() -> None:
    """Close the connections to API servers of the running event loop."""
    loop = asyncio.get_running_loop()
    for key in [key for key in _sessions if key[0] is loop]:
        await _sessions.pop(key).close()


@cache
def _api_server(kubeconfig: Path) -> _ApiServer:
    """Return the API server of a kubeconfig of the stack, with the token of its only user."""
    configuration = yaml.safe_load(kubeconfig.read_text())
    cluster, user = configuration["clusters"][0]["cluster"], configuration["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    headers = {"Authorization": f"Bearer {user['token']}"}
    return _ApiServer(cluster["server"], headers, ssl.create_default_context(cadata=authority))


@asynccontextmanager
async def new_namespace(cluster: Kubernetes, name: str) -> AsyncGenerator[Kubectl]:
    """Create a namespace; yields kubectl of the administrator in it.

    At the end its HPAs are deleted, because thirty HPAs use a third of a core of the control plane, and policies and
    events, which the operators of later tests would reconcile; other objects use nothing and are kept.
    """
    kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, name)
    await kubectl.create_namespace()
    try:
        yield kubectl
    finally:
        for kind in ("hpa", "sp", "be"):
            with suppress(KubectlError):
                await kubectl.delete_all(kind)
