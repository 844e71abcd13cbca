"""A real Prometheus server on loopback."""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from predictive_scaling.clock import WallClock
from predictive_scaling.stack.certificates import Authority, CertificateFiles, new_authority
from predictive_scaling.stack.ports import free_port
from predictive_scaling.stack.processes import Child, answers, port_is_open
from tests.support.prometheus_programs import install, promtool

USER, PASSWORD = "reader", "reader"
_PASSWORD_HASH = "$2b$05$abcdefghijklmnopqrstuuZqHIDNb6/I1/LcJ3xmWE7PrREY18otK"


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """What a client of a secure server needs. certificate: of the client, with its key."""

    authority: Path
    certificate: CertificateFiles


@dataclass(frozen=True, slots=True)
class PrometheusServer:
    """A running server. client: only of a secure one."""

    url: str
    client: ClientFiles | None = None

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query, a sample per series. Raises ClientResponseError if it is refused."""
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/api/v1/query", data={"query": expression}, raise_for_status=True) as response,
        ):
            return (await response.json())["data"]["result"]


@asynccontextmanager
async def prometheus_server(
    folder: Path,
    configuration: Mapping[str, Any] | None = None,
    *,
    history: Iterable[str] = (),
    secure: bool = False,
    port: int | None = None,
) -> AsyncGenerator[PrometheusServer]:
    """Run a server with this configuration, by default without anything to scrape.

    history: lines of OpenMetrics with which the database begins. secure: it serves TLS, asks for a certificate, and for
    USER with PASSWORD. port: a free one, if the configuration names it.
    """
    data = folder / "data"
    if _write_files(folder, configuration or {}, history):
        # In a single block: promtool reserves 128 MB for each, which costs CPU time where files are in memory.
        block = "--max-block-duration=10000h"
        await promtool("tsdb", "create-blocks-from", block, "openmetrics", "--quiet", folder / "history.txt", data)
    port = port or free_port()
    authority = new_authority(folder, "authority", WallClock().now()) if secure else None
    child = Child(
        "Prometheus",
        [
            await install("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={data}",
            "--storage.tsdb.retention.time=10y",
            f"--web.listen-address=127.0.0.1:{port}",
            *_web_configuration(folder, authority),
        ],
        folder / "prometheus.log",
        port_is_open(port) if secure else answers(f"http://127.0.0.1:{port}/-/ready"),
    )
    try:
        await child.start()
        scheme = "https" if secure else "http"
        client = ClientFiles(authority.file, authority.issue("reader", "reader")) if authority else None
        yield PrometheusServer(f"{scheme}://127.0.0.1:{port}", client)
    finally:
        await child.stop()


def _write_files(folder: Path, configuration: Mapping[str, Any], history: Iterable[str]) -> bool:
    """Write the configuration and the history, which may be empty; return whether there is one."""
    folder.mkdir()
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    lines = list(history)
    (folder / "history.txt").write_text("".join(f"{line}\n" for line in [*lines, "# EOF"]))
    return bool(lines)


def _web_configuration(folder: Path, authority: Authority | None) -> Sequence[str]:
    if authority is None:
        return ()
    server = authority.issue("prometheus", "prometheus", ["127.0.0.1"])
    tls = {
        "cert_file": str(server.certificate),
        "key_file": str(server.key),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": str(authority.file),
    }
    file = folder / "web.yml"
    file.write_text(json.dumps({"tls_server_config": tls, "basic_auth_users": {USER: _PASSWORD_HASH}}))
    return [f"--web.config.file={file}"]


def counter_history(name: str, labels: str, per_second: float, start: datetime, end: datetime) -> Iterable[str]:
    """Return the lines of a counter that grows steadily, with a sample per minute."""
    yield f"# TYPE {name.removesuffix('_total')} counter"
    minutes = int((end - start) / timedelta(minutes=1))
    for minute in range(minutes + 1):
        at = start.timestamp() + minute * 60
        yield f"{name}{{{labels}}} {per_second * 60 * minute:.3f} {at:.0f}"
