"""The HTTP API under load, compared with a bare FastAPI endpoint: `python -m tests.bench.api`.

All processes use loopback: PostgreSQL of the local stack, the API, the bare endpoint, and the clients of this process,
which keep their connections alive. The bare endpoint returns a constant through the same server, so that the ratio
shows the cost of the application.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI

from predictive_scaling.api.serving import serve
from predictive_scaling.clock import WallClock, monotonic
from predictive_scaling.stack.stack import Part, Stack
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.telemetry.logs import configure_logs
from tests.support.api_process import api_running, log_events
from tests.support.api_services import a_forecast, a_policy
from tests.support.eventually import eventually

POLICIES = 1000
DECISIONS = 300_000
CONNECTIONS = 4
SLICES = 12
SLICE_SECONDS = 0.5
PATHS = {
    "forecast of a service": "/api/v1/predictions/current?service=service-0500",
    "5 newest decisions": "/api/v1/scaling/decisions?limit=5",
    "status, a page of 100 policies": "/api/v1/scaling/status?limit=100",
    "current forecasts, a page of 100": "/api/v1/predictions/current?limit=100",
    "liveness": "/health/live",
}
JSON = Path(__file__).parents[2] / "build" / "bench-api.json"

_DECISIONS = """
insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid, generation, target,
    decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts,
    started_at, finished_at, deadline_at, forecast, limits, event, outcome)
select 'decision-' || n, %(now)s - n * interval '1 second', 'service-' || n %% %(policies)s, 'shop',
    'policy-' || n %% %(policies)s, 'uid', 1, 'HorizontalPodAutoscaler/web', 'scale_up', 'succeeded', 4, 9, 12,
    'Forecast', 'ForecastRose', 'The forecast for 08:03 needs 9 replicas.', 'Auto', 1,
    %(now)s - n * interval '1 second', %(now)s - n * interval '1 second', %(now)s, '{"quantile": "0.9"}', '{}', null,
    '9 replicas were ready after 52 s.'
from generate_series(1, %(decisions)s) as n
"""


@dataclass(frozen=True, slots=True)
class Load:
    """The results of CONNECTIONS clients over all slices, each of which sends a request after each response."""

    path: str
    requests_per_second: float
    median_ms: float
    p99_ms: float
    cpu_ms: float
    """CPU time of the server process per request, without PostgreSQL; other load hardly changes it."""
    bytes: int
    of_bare: float
    """Ratio to the requests of the bare endpoint in alternating slices: other load slows both."""


async def measure(folder: Path, paths: dict[str, str]) -> dict[str, Load]:
    """Measure every path, alternating with the bare endpoint."""
    async with Stack([Part.POSTGRESQL]) as stack:
        url = await stack.postgresql.create_database("bench_api")
        await _fill(url)
        loads: dict[str, Load] = {}
        async with (
            api_running(url, folder, PREDICTIVE_SCALING_API_REQUESTS_PER_SECOND="1000000") as api,
            _bare(folder) as (bare, bare_pid),
        ):
            for name, path in paths.items():
                _notify(f"api: {name}")
                loads[name] = await _load(api.port, api.process.pid, path, bare)
            loads["bare endpoint"] = await _load(bare, bare_pid, "/bare", bare)
        await stack.postgresql.drop_database("bench_api")
    return loads


def as_markdown(loads: dict[str, Load]) -> str:
    """Return a table with one row per path."""
    rows = [
        f"| {name} | {load.requests_per_second:,.0f} | {load.of_bare:.2f} | {load.median_ms:.1f} | {load.p99_ms:.1f} "
        f"| {load.cpu_ms:.2f} | {load.bytes / 1000:,.1f} |"
        for name, load in loads.items()
    ]
    head = "| request | a second | of a bare endpoint | median ms | p99 ms | CPU ms | kB |"
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|", *rows]) + "\n"


async def _fill(url: str) -> None:
    _notify(f"api: {POLICIES:,} policies with forecasts, {DECISIONS:,} decisions")
    now = WallClock().now()
    async with Database(url, purpose="bench", statement_timeout=timedelta(minutes=5)) as database:
        await migrate(database, WallClock())
        names = [(f"policy-{number:04}", f"service-{number:04}") for number in range(POLICIES)]
        await Policies(database).record([a_policy(name, service_name=service) for name, service in names])
        points = [point for name, service in names for point in a_forecast(name, created_at=now, service_name=service)]
        await Predictions(database).record(points)
        async with database.connection() as connection:
            await connection.execute(_DECISIONS, {"now": now, "policies": POLICIES, "decisions": DECISIONS})
        async with database.connection() as connection:
            await connection.set_autocommit(True)
            await connection.execute("vacuum analyze")
            await connection.set_autocommit(False)


@asynccontextmanager
async def _bare(folder: Path) -> AsyncGenerator[tuple[int, int]]:
    """Run a FastAPI application that returns a constant, in a separate process; yields its port and process id."""
    log = folder / "bare.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.api", "--bare"), stdout=output, stderr=output
        )

    async def port() -> int:
        return next((event["port"] for event in log_events(log) if event["event"] == "api_listening"), 0)

    try:
        yield await eventually(port, seconds=60), process.pid
    finally:
        process.terminate()
        await process.wait()


async def _load(port: int, pid: int, path: str, bare: int) -> Load:
    request, constant = (f"GET {target} HTTP/1.1\r\nHost: api\r\n\r\n".encode() for target in (path, "/bare"))
    await _send_requests(port, request, SLICE_SECONDS)
    latencies: list[float] = []
    bare_requests, size, cpu_seconds = 0, 0, 0.0
    for _ in range(SLICES):
        for port_of_slice, request_of_slice in ((bare, constant), (port, request)):
            before = _cpu_seconds(pid)
            results = await asyncio.gather(
                *(_send_requests(port_of_slice, request_of_slice, SLICE_SECONDS) for _ in range(CONNECTIONS))
            )
            if request_of_slice is request:
                cpu_seconds += _cpu_seconds(pid) - before
                latencies += [latency for client_latencies, _ in results for latency in client_latencies]
                size = results[0][1]
            else:
                bare_requests += sum(len(client_latencies) for client_latencies, _ in results)
    latencies.sort()
    return Load(
        path=path,
        requests_per_second=len(latencies) / (SLICES * SLICE_SECONDS),
        median_ms=1000 * statistics.median(latencies),
        p99_ms=1000 * latencies[int(0.99 * (len(latencies) - 1))],
        cpu_ms=1000 * cpu_seconds / len(latencies),
        bytes=size,
        of_bare=len(latencies) / bare_requests,
    )


async def _send_requests(port: int, request: bytes, seconds: float) -> tuple[Sequence[float], int]:
    """Send requests on one connection; return their latencies and the size of the last body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    latencies: list[float] = []
    size, end = 0, monotonic() + seconds
    while (started_at := monotonic()) < end:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        latencies.append(monotonic() - started_at)
    writer.close()
    await writer.wait_closed()
    return latencies, size


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _notify(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _serve_bare() -> None:
    configure_logs(WallClock())
    application = FastAPI()

    @application.get("/bare")
    async def bare() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction] (a route)
        return {"status": "healthy"}

    asyncio.run(serve(application, "127.0.0.1", 0))


def main() -> None:
    """Print the table, and write build/bench-api.json."""
    with tempfile.TemporaryDirectory() as folder:
        loads = asyncio.run(measure(Path(folder), PATHS))
    JSON.parent.mkdir(exist_ok=True)
    JSON.write_text(json.dumps({name: asdict(load) for name, load in loads.items()}))
    print(as_markdown(loads), end="")


if __name__ == "__main__":
    _serve_bare() if "--bare" in sys.argv else main()
