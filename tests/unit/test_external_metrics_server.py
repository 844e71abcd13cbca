"""The external metrics server as the aggregation layer uses it: TLS, client certificates, documents and errors."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from predictive_scaling.clock import ManualClock, WallClock
from predictive_scaling.errors import SettingsError
from predictive_scaling.external_metrics.server import ExternalMetricsServer
from predictive_scaling.external_metrics.trust import AggregatorTrust, ServingFiles
from predictive_scaling.external_metrics.values import ExternalMetricStore, Reading
from predictive_scaling.stack.certificates import Authority, CertificateFiles, new_authority
from tests.support.eventually import eventually

NOW = datetime(1998, 7, 3, 13, 0, tzinfo=UTC)
HOST = "metrics.scaling.svc"
DEMAND = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/predictive-scaling-demand"


@dataclass
class MetricsServer:
    server: ExternalMetricsServer
    store: ExternalMetricStore
    clock: ManualClock
    authority: Authority
    front_proxy: Authority
    files: ServingFiles
    aggregator: CertificateFiles

    async def get(self, path: str, client: CertificateFiles | None = None) -> tuple[int, dict[str, Any]]:
        """Return the status and the document that the API server would receive."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://127.0.0.1:{self.server.port}{path}",
                ssl=self.tls(client or self.aggregator),
                server_hostname=HOST,
            ) as response,
        ):
            return response.status, await response.json()

    def tls(self, client: CertificateFiles | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.file))
        # The stack's short-lived authority has no key identifiers, which newer Pythons require.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        return context

    async def serial(self) -> int:
        """The serial number of the certificate that a new connection receives."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=self.tls(self.aggregator), server_hostname=HOST
        )
        serial_number = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        del reader
        return int(serial_number, 16)


@pytest.fixture
async def metrics(tmp_path: Path) -> AsyncIterator[MetricsServer]:
    wall = WallClock().now()
    authority, front_proxy = new_authority(tmp_path, "ca", wall), new_authority(tmp_path, "front-proxy-ca", wall)
    issued = authority.issue(HOST, "serving", [HOST])
    files = ServingFiles(issued.certificate, issued.key)
    store, clock = ExternalMetricStore(), ManualClock(NOW)
    trust = AggregatorTrust(front_proxy.file.read_text(), ("front-proxy-client",))
    server = ExternalMetricsServer(
        store, clock, files, trust, host="127.0.0.1", port=0, reload_interval=timedelta(milliseconds=20)
    )
    aggregator = front_proxy.issue("front-proxy-client", "aggregator")
    async with server:
        yield MetricsServer(server, store, clock, authority, front_proxy, files, aggregator)


def a_reading(value: float) -> Reading:
    return Reading(value, NOW, NOW + timedelta(minutes=5))


async def test_discovery_lists_both_metrics_as_namespaced(metrics: MetricsServer) -> None:
    status, group = await metrics.get("/apis/external.metrics.k8s.io")
    assert (status, group["kind"], group["preferredVersion"]["version"]) == (200, "APIGroup", "v1beta1")
    status, resources = await metrics.get("/apis/external.metrics.k8s.io/v1beta1")
    assert (status, resources["groupVersion"]) == (200, "external.metrics.k8s.io/v1beta1")
    assert [(resource["name"], resource["namespaced"]) for resource in resources["resources"]] == [
        ("predictive-scaling-demand", True),
        ("predictive-scaling-forecast", True),
    ]


async def test_responses_are_sent_at_once_on_a_kept_alive_connection(
    metrics: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[socket.socket] = []
    accept = socket.socket.accept

    def spy(listener: socket.socket) -> tuple[socket.socket, object]:
        connection, address = accept(listener)
        accepted.append(connection)
        return connection, address

    monkeypatch.setattr(socket.socket, "accept", spy)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", metrics.server.port, ssl=metrics.tls(metrics.aggregator), server_hostname=HOST
    )
    writer.write(b"GET /apis/external.metrics.k8s.io HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" in await reader.readline()
    assert [connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for connection in accepted] == [1]
    writer.close()


async def test_a_metric_has_an_item_for_each_selected_policy(metrics: MetricsServer) -> None:
    metrics.store.publish("shop", "checkout", "web", demand=a_reading(1234.5), forecast=None)
    metrics.store.publish("shop", "cart", "cart", demand=a_reading(7.0), forecast=None)
    status, body = await metrics.get(f"{DEMAND}?labelSelector=policy%3Dcheckout")
    assert status == 200
    assert body == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": "predictive-scaling-demand",
                "metricLabels": {"policy": "checkout", "service": "web"},
                "timestamp": "1998-07-03T13:00:00Z",
                "value": "1234500m",
            }
        ],
    }
    status, body = await metrics.get(DEMAND)
    assert [item["value"] for item in body["items"]] == ["7", "1234500m"]


async def test_stale_data_is_an_error_and_never_a_lower_demand(metrics: MetricsServer) -> None:
    metrics.store.publish("shop", "checkout", "web", demand=a_reading(800.0), forecast=None)
    metrics.clock.advance(timedelta(minutes=4))
    metrics.store.publish(
        "shop", "cart", "cart", demand=Reading(7.0, metrics.clock.now(), NOW + timedelta(hours=1)), forecast=None
    )
    assert (await metrics.get(DEMAND))[0] == 200
    metrics.clock.advance(timedelta(minutes=1))
    status, body = await metrics.get(DEMAND)
    assert (status, body["kind"], body["reason"]) == (503, "Status", "ServiceUnavailable")
    assert body["message"].startswith("predictive-scaling-demand of ScalingPolicy shop/checkout is stale")
    assert (await metrics.get(f"{DEMAND}?labelSelector=policy%3Dcart"))[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        (f"{DEMAND}", 404, "no ScalingPolicy in namespace shop is selected"),
        (f"{DEMAND}?labelSelector=policy%3D%3D%3D", 400, "labelSelector: cannot read"),
        ("/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/cpu", 404, "there is no metric 'cpu'"),
        ("/openapi/v2", 404, "Not Found"),
        ("/metrics", 404, "Not Found"),
    ],
)
async def test_an_invalid_request_gets_a_status_with_the_reason(
    metrics: MetricsServer, path: str, status: int, message: str
) -> None:
    http_status, body = await metrics.get(path)
    assert (http_status, body["kind"], body["code"]) == (status, "Status", status)
    assert message in body["message"]


async def test_an_unknown_value_is_an_error_and_not_zero(metrics: MetricsServer) -> None:
    metrics.store.publish("shop", "checkout", "web", demand=None, forecast=None)
    status, body = await metrics.get(DEMAND)
    assert status == 503
    assert body["message"] == "predictive-scaling-demand of ScalingPolicy shop/checkout is not known yet"


async def test_a_client_with_another_common_name_is_refused(metrics: MetricsServer) -> None:
    status, body = await metrics.get(DEMAND, metrics.front_proxy.issue("bob", "bob"))
    assert (status, body["reason"]) == (403, "Forbidden")


async def test_a_client_certificate_of_another_authority_is_refused(metrics: MetricsServer) -> None:
    stranger = metrics.authority.issue("front-proxy-client", "stranger")
    for context in (metrics.tls(None), metrics.tls(stranger)):
        with pytest.raises(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session:
                await session.get(f"https://127.0.0.1:{metrics.server.port}{DEMAND}", ssl=context, server_hostname=HOST)


async def test_a_rotated_certificate_is_served_and_open_connections_continue(metrics: MetricsServer) -> None:
    metrics.store.publish("shop", "checkout", "web", demand=a_reading(800.0), forecast=None)
    before = await metrics.serial()
    connector = aiohttp.TCPConnector(ssl=metrics.tls(metrics.aggregator))
    async with aiohttp.ClientSession(connector=connector) as session:
        url = f"https://127.0.0.1:{metrics.server.port}{DEMAND}"
        async with session.get(url, server_hostname=HOST) as response:
            await response.read()
        renewed = metrics.authority.issue(HOST, "renewed", [HOST])
        shutil.copy(renewed.certificate, metrics.files.certificate)
        # The key is still the old key: a pair that does not match is not served.
        assert not await metrics.server.reload_if_changed()
        assert await metrics.serial() == before
        shutil.copy(renewed.key, metrics.files.key)
        await eventually(metrics.serial, lambda serial: serial != before)
        async with session.get(url, server_hostname=HOST) as response:
            assert response.status == 200


async def test_no_new_connection_fails_while_the_certificate_is_replaced(metrics: MetricsServer) -> None:
    metrics.store.publish("shop", "checkout", "web", demand=a_reading(800.0), forecast=None)
    rotated, answered = asyncio.Event(), list[int]()

    async def connect_repeatedly() -> None:
        while not rotated.is_set():
            status, _ = await metrics.get(DEMAND)
            answered.append(status)

    clients = [asyncio.create_task(connect_repeatedly()) for _ in range(3)]
    for number in range(5):
        before = await metrics.serial()
        renewed = metrics.authority.issue(HOST, f"renewed-{number}", [HOST])
        shutil.copy(renewed.certificate, metrics.files.certificate)
        shutil.copy(renewed.key, metrics.files.key)
        async with asyncio.timeout(60):
            while await metrics.serial() == before:  # noqa: ASYNC110 (the server reloads on its own)
                await asyncio.sleep(0.02)
    rotated.set()
    await asyncio.gather(*clients)
    assert set(answered) == {200}


async def test_a_connection_that_was_just_accepted_survives_a_new_certificate(metrics: MetricsServer) -> None:
    client = socket.create_connection(("127.0.0.1", metrics.server.port))
    # In the first step of the loop the server accepts, in the second it would begin TLS, but the reload comes first.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    renewed = metrics.authority.issue(HOST, "renewed", [HOST])
    shutil.copy(renewed.certificate, metrics.files.certificate)
    shutil.copy(renewed.key, metrics.files.key)
    assert await metrics.server.reload_if_changed()
    client.setblocking(False)
    _, writer = await asyncio.open_connection(sock=client, ssl=metrics.tls(metrics.aggregator), server_hostname=HOST)
    assert writer.get_extra_info("peercert")
    writer.close()


async def test_a_failed_reload_is_retried(metrics: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    before, failed, real = await metrics.serial(), list[str](), web.SockSite

    def failing_once(*arguments: Any, **options: Any) -> web.SockSite:
        if not failed:
            failed.append("once")
            raise RuntimeError("no more descriptors")
        return real(*arguments, **options)

    monkeypatch.setattr(web, "SockSite", failing_once)
    renewed = metrics.authority.issue(HOST, "renewed", [HOST])
    shutil.copy(renewed.certificate, metrics.files.certificate)
    shutil.copy(renewed.key, metrics.files.key)
    await eventually(metrics.serial, lambda serial: serial != before)
    assert failed == ["once"]


async def test_a_rotated_authority_of_the_aggregator_replaces_the_old_authority(
    metrics: MetricsServer, tmp_path: Path
) -> None:
    folder = tmp_path / "next"
    folder.mkdir()
    next_authority = new_authority(folder, "front-proxy-ca", WallClock().now())
    await metrics.server.trust(AggregatorTrust(next_authority.file.read_text(), ("front-proxy-client",)))
    status, _ = await metrics.get("/apis/external.metrics.k8s.io", next_authority.issue("front-proxy-client", "next"))
    assert status == 200
    with pytest.raises(aiohttp.ClientError):
        await metrics.get("/apis/external.metrics.k8s.io")


async def test_unusable_certificate_files_are_reported_at_start(metrics: MetricsServer, tmp_path: Path) -> None:
    files = ServingFiles(tmp_path / "missing.crt", metrics.files.key)
    trust = AggregatorTrust(metrics.front_proxy.file.read_text())
    with pytest.raises(SettingsError, match=r"cannot serve external metrics with .*missing\.crt"):
        await ExternalMetricsServer(metrics.store, metrics.clock, files, trust, host="127.0.0.1", port=0).start()
    with pytest.raises(SettingsError, match="the aggregation layer's CA is not a PEM certificate"):
        await ExternalMetricsServer(
            metrics.store, metrics.clock, metrics.files, AggregatorTrust("nonsense"), host="127.0.0.1", port=0
        ).start()
