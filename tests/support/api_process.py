"""The HTTP API as users run it: a separate process, stopped by pid."""

import json
import os
import signal
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.eventually import eventually, exit_code
from tests.support.forked_program import ForkedProgram, start_program

PLAIN_HTTP = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""`verify` of a client of http:// addresses; without it, each client loads the machine's authorities for 17 ms."""


@dataclass
class ApiProcess:
    """A running `predictive-scaling api` and its address."""

    process: ForkedProgram
    log: Path
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, verify=PLAIN_HTTP, base_url=self.url, timeout=120) as client:
            return await client.get(path)

    async def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await exit_code(self.process)


def log_events(log: Path) -> list[dict[str, Any]]:
    """Return the events of a log of JSON lines."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def start_process(*arguments: str, log: Path, settings: Mapping[str, str]) -> ForkedProgram:
    """Start `predictive-scaling …` with these settings; its output goes to `log`."""
    log.write_bytes(b"")
    return start_program(*arguments, environment={**os.environ, **settings}, output=log)


@asynccontextmanager
async def api_running(database_url: str, folder: Path, port: int = 0, /, **settings: str) -> AsyncGenerator[ApiProcess]:
    """Run the API over this database; it responds on entry. port: 0 for a free one."""
    log = folder / "api.log"
    process = start_process(
        *("api", "--host", "127.0.0.1", "--port", str(port)),
        log=log,
        settings={"DATABASE_URL": database_url, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", **settings},
    )
    try:
        port = await eventually(lambda: _port(process, log), seconds=60)
        yield ApiProcess(process, log, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _port(process: ForkedProgram, log: Path) -> int:
    if process.returncode is not None:
        raise RuntimeError(f"the API exited with {process.returncode}: {log_events(log)[-1:]}")
    return next((event["port"] for event in log_events(log) if event["event"] == "api_listening"), 0)
