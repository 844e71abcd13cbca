"""Errors of the API server: not found, refused, a failed request, or an unavailable server."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from predictive_scaling.cluster.client import (
    Cluster,
    ObjectConflictError,
    ObjectNotFoundError,
    ObjectRefusedError,
    connected,
)
from predictive_scaling.errors import (
    ClusterUnavailableError,
    ExtensionUnavailableError,
    PredictiveScalingError,
    RequestFailedError,
    RequestTimedOutError,
)

PATH = "/apis/apps/v1/namespaces/shop/deployments/checkout"
WEBHOOK = 'Internal error occurred: failed calling webhook "deny.shop": connection refused'


def a_status(code: int, message: str) -> str:
    """A Status document of the API server."""
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})


class Server:
    """An API server with a configurable response."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, '{"kind": "Status"}', dict[str, str]()
        self.hangs = False
        self.requests: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.status, text=self.body, headers=self.headers)


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
async def cluster(server: Server, tmp_path: Path) -> AsyncGenerator[Cluster]:
    async with listening(server) as port, connected(a_kubeconfig(tmp_path, port), timeout_seconds=240.0) as cluster:
        yield cluster


@pytest.fixture
async def impatient_cluster(server: Server, tmp_path: Path) -> AsyncGenerator[Cluster]:
    """For requests to a server that hangs; on a busy machine, others may time out too."""
    async with listening(server) as port, connected(a_kubeconfig(tmp_path, port), timeout_seconds=0.5) as cluster:
        yield cluster


@asynccontextmanager
async def listening(server: Server) -> AsyncGenerator[int]:
    """Run a server on a port of its own."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def port_without_listener() -> Generator[int]:
    """Occupy a port that refuses connections."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def a_kubeconfig(folder: Path, port: int) -> Path:
    content: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "current-context": "it",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, a_status(500, WEBHOOK), RequestFailedError),
        (500, "", RequestFailedError),
        (504, a_status(504, "Timeout: request did not complete within the requested timeout"), RequestFailedError),
        (503, a_status(503, "the server is currently unable to handle the request"), RequestFailedError),
        (429, a_status(429, "too many requests"), RequestFailedError),
        (429, "", RequestFailedError),
        (503, "<html>no healthy upstream</html>", ClusterUnavailableError),
        (502, "", ClusterUnavailableError),
        (504, '"a string"', ClusterUnavailableError),
        (401, a_status(401, "Unauthorized"), ClusterUnavailableError),
        (404, a_status(404, "not found"), ObjectNotFoundError),
        (409, a_status(409, "the object has been modified"), ObjectConflictError),
        (403, a_status(403, "forbidden"), ObjectRefusedError),
        (422, a_status(422, "invalid"), ObjectRefusedError),
    ],
)
async def test_each_response_raises_its_error(
    server: Server, cluster: Cluster, status: int, body: str, expected: type[PredictiveScalingError]
) -> None:
    server.status, server.body = status, body
    with pytest.raises(PredictiveScalingError) as raised:
        await cluster.merge("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/checkout", {})
    assert type(raised.value) is expected
    assert "namespaces/shop/horizontalpodautoscalers/checkout" in str(raised.value)


EXTENSIONS = {
    "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web": True,
    "/apis/argoproj.io/v1alpha1": True,
    "/apis/keda.sh/v1alpha1/namespaces/shop/scaledobjects/web": True,
    "/apis/cluster.x-k8s.io/v1beta1": True,
    "/apis/custom.metrics.k8s.io/v1beta1": True,
    "/apis/apps/v1/namespaces/shop/deployments/web": False,
    "/apis/coordination.k8s.io/v1/namespaces/shop/leases/predictive-scaling": False,
    "/apis/predictive-scaling.io/v1alpha1/namespaces/shop/scalingpolicies/web/status": False,
    "/api/v1/namespaces/argoproj.io/pods": False,
}
"""Whether another server than the API server may serve a path."""


@pytest.mark.parametrize(("path", "is_extension"), EXTENSIONS.items())
async def test_an_api_that_is_down_or_hangs_does_not_make_the_server_unavailable(
    server: Server, cluster: Cluster, impatient_cluster: Cluster, path: str, is_extension: bool
) -> None:
    server.status, server.body = 503, "service unavailable"
    with pytest.raises(ClusterUnavailableError, match="service unavailable") as raised:
        await cluster.get(path)
    assert type(raised.value) is (ExtensionUnavailableError if is_extension else ClusterUnavailableError)
    server.hangs = True
    with pytest.raises(ClusterUnavailableError, match=f"did not answer GET {path}") as raised:
        await impatient_cluster.get(path)
    assert type(raised.value) is (ExtensionUnavailableError if is_extension else RequestTimedOutError)


NO_OBJECTS = ["<html>Log in</html>", '"a string"', "[]", '{"error": "invalid_token"}', '{"items": null}', "{}", ""]
"""What a proxy in front of the API server may respond with."""


@pytest.mark.parametrize("body", NO_OBJECTS)
async def test_a_response_that_is_no_kubernetes_object_is_neither_an_empty_list_nor_a_write(
    server: Server, cluster: Cluster, body: str
) -> None:
    server.body = body
    collection = "/apis/apps/v1/deployments"
    for request in (
        lambda: cluster.get(PATH),
        lambda: cluster.items(collection),
        lambda: cluster.first_page(collection, limit=1),
        lambda: cluster.metadata(collection),
        lambda: cluster.merge(PATH, {}),
        lambda: cluster.delete(PATH),
    ):
        with pytest.raises(ClusterUnavailableError, match="the response is not a Kubernetes object: ") as raised:
            await request()
        assert collection in str(raised.value) or PATH in str(raised.value)
    rollout = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/web"
    with pytest.raises(ExtensionUnavailableError, match=rollout):
        await cluster.get(rollout)


async def test_an_empty_list_of_metadata_has_null_instead_of_items(server: Server, cluster: Cluster) -> None:
    server.body = '{"kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "7"}, "items": null}'
    assert await cluster.metadata("/apis/apps/v1/deployments") == []


async def test_a_server_that_rejects_the_credentials_is_unavailable_for_each_api(
    server: Server, cluster: Cluster
) -> None:
    server.status, server.body = 401, a_status(401, "Unauthorized")
    with pytest.raises(ClusterUnavailableError) as raised:
        await cluster.get("/apis/argoproj.io/v1alpha1")
    assert type(raised.value) is ClusterUnavailableError


async def test_the_message_of_the_server_is_in_the_error(server: Server, cluster: Cluster) -> None:
    server.status, server.body = 500, a_status(500, WEBHOOK)
    with pytest.raises(RequestFailedError, match="failed calling webhook"):
        await cluster.get("/api/v1/namespaces/shop")


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-3", None)]
)
async def test_retry_after_is_read_from_the_response(
    server: Server, cluster: Cluster, header: str | None, seconds: float | None
) -> None:
    server.status = 429
    if header is not None:
        server.headers["Retry-After"] = header
    with pytest.raises(RequestFailedError) as raised:
        await cluster.get("/api/v1/namespaces/shop")
    assert raised.value.retry_after_seconds == seconds


async def test_a_hanging_request_does_not_make_the_server_unavailable(
    server: Server, impatient_cluster: Cluster
) -> None:
    server.hangs = True
    with pytest.raises(RequestTimedOutError, match=r"did not answer GET /api/v1/namespaces/shop within 0\.5 s"):
        await impatient_cluster.get("/api/v1/namespaces/shop")


async def test_a_server_that_does_not_listen_is_unavailable(tmp_path: Path) -> None:
    with port_without_listener() as port:
        async with connected(a_kubeconfig(tmp_path, port), timeout_seconds=240.0) as cluster:
            with pytest.raises(ClusterUnavailableError) as raised:
                await cluster.get("/api/v1/namespaces/shop")
    assert type(raised.value) is ClusterUnavailableError


async def test_netrc_is_not_read(
    server: Server, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its password would be sent to the API server, and the file read at each request."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login app password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    await cluster.get("/api/v1/namespaces/shop")
    assert "Authorization" not in server.requests[-1].headers


@pytest.mark.parametrize(("no_proxy", "is_used"), [("", True), ("127.0.0.1", False)])
async def test_a_proxy_of_the_environment_is_used_unless_no_proxy_names_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_used: bool
) -> None:
    proxy = Server()
    proxy.body = '{"kind": "Namespace"}'
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("no_proxy", no_proxy)
    with port_without_listener() as unused_port:
        async with listening(proxy) as port:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
            async with connected(a_kubeconfig(tmp_path, unused_port), timeout_seconds=240.0) as cluster:
                if is_used:
                    assert await cluster.get("/api/v1/namespaces/shop") == {"kind": "Namespace"}
                else:
                    with pytest.raises(ClusterUnavailableError):
                        await cluster.get("/api/v1/namespaces/shop")
    assert bool(proxy.requests) is is_used


async def test_no_write_is_sent_once_leadership_is_lost(server: Server, cluster: Cluster) -> None:
    leads = True
    fenced = cluster.fenced(lambda: leads)
    await fenced.merge(PATH, {})
    leads = False
    body: dict[str, Any] = {"metadata": {"name": "checkout"}}
    for write in (
        lambda: fenced.create(PATH, body),
        lambda: fenced.replace(PATH, body),
        lambda: fenced.apply(PATH, body),
        lambda: fenced.merge(PATH, body),
        lambda: fenced.edit(PATH, [{"op": "test", "path": "/metadata/uid", "value": "1"}]),
        lambda: fenced.delete(PATH),
        lambda: fenced.delete(PATH, uid="1"),
    ):
        with pytest.raises(ClusterUnavailableError, match=f"leadership was lost before [A-Z]+ {PATH}; not sent"):
            await write()
    await fenced.get(PATH)
    await cluster.merge(PATH, {})
    assert [request.method for request in server.requests] == ["PATCH", "GET", "PATCH"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_write_is_not_sent_if_leadership_is_lost_while_it_waits(
    method: str, server: Server, cluster: Cluster
) -> None:
    await cluster.get(PATH)
    answers = iter([True, False])
    fenced = cluster.fenced(lambda: next(answers))
    with pytest.raises(ClusterUnavailableError, match=f"leadership was lost before {method} {PATH}; not sent"):
        await (fenced.delete(PATH) if method == "DELETE" else fenced.merge(PATH, {}))
    await cluster.get(PATH)
    assert [request.method for request in server.requests] == ["GET", "GET"]
