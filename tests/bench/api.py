"""The HTTP API under load, compared with a bare FastAPI endpoint: `python -m tests.bench.api`.

All processes use loopback: PostgreSQL of the local stack, the API, the bare endpoint, and vegeta, which keeps its
connections alive. The bare endpoint returns a constant through the same server, so that the ratio shows the cost of
the application.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from fastapi import FastAPI

from predictive_scaling.api.serving import serve
from predictive_scaling.clock import WallClock
from predictive_scaling.stack.parts import Part
from predictive_scaling.stack.progress import to_stderr
from predictive_scaling.stack.stack import Stack
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.migrate import migrate
from predictive_scaling.storage.policies import Policies
from predictive_scaling.storage.predictions import Predictions
from predictive_scaling.telemetry.logs import configure_logs
from tests.support.api_process import api_running, log_events
from tests.support.api_services import a_forecast, a_policy
from tests.support.eventually import eventually
from tests.support.load_generator import attack, install

POLICIES = 1000
DECISIONS = 300_000
DECISION_DAYS = 30
CONNECTIONS = 8
RATE, RATE_SECONDS = 200, 15
SLICES, SLICE_SECONDS = 3, 4
P99_BAR_MS, OF_BARE_BAR = 50.0, 1 / 3

_NUMBERS = range(POLICIES)
PATHS = {
    "forecast of one of 1,000 services": [
        f"/api/v1/predictions/current?service=service-{number:04}" for number in _NUMBERS
    ],
    "5 newest decisions": ["/api/v1/scaling/decisions?limit=5"],
    "5 newest decisions of one of 1,000 services": [
        f"/api/v1/scaling/decisions?limit=5&service=service-{number}" for number in _NUMBERS
    ],
    "status, a page of 100 policies": ["/api/v1/scaling/status?limit=100"],
    "status of one of 1,000 searches": [f"/api/v1/scaling/status?search=policy-{number:04}" for number in _NUMBERS],
    "current forecasts, a page of 100": ["/api/v1/predictions/current?limit=100"],
    "liveness": ["/health/live"],
}
JSON = Path(__file__).parents[2] / "build" / "bench-api.json"

_DECISIONS = """
insert into scaling_decisions (id, created_at, service_name, namespace, policy, policy_uid, generation, target,
    decision_type, status, from_replicas, to_replicas, uncapped_replicas, source, reason, message, mode, attempts,
    started_at, finished_at, deadline_at, forecast, limits, event, outcome)
select 'decision-' || n, %(now)s - n * %(distance)s::interval, 'service-' || n %% %(policies)s, 'shop',
    'policy-' || n %% %(policies)s, 'uid', 1, 'HorizontalPodAutoscaler/web', 'scale_up', 'succeeded', 4, 9, 12,
    'Forecast', 'ForecastRose', 'The forecast for 08:03 needs 9 replicas.', 'Auto', 1,
    %(now)s - n * %(distance)s::interval, %(now)s - n * %(distance)s::interval, %(now)s, '{"quantile": "0.9"}', '{}',
    null, '9 replicas were ready after 52 s.'
from generate_series(1, %(decisions)s) as n
"""


@dataclass(frozen=True, slots=True)
class Load:
    """The results of a list of addresses. paced_*: at RATE requests a second; the others: as many as are answered."""

    paths: int
    paced_median_ms: float
    paced_p99_ms: float
    requests_per_second: float
    cpu_ms: float
    """CPU time of the server process per request, without PostgreSQL; other load hardly changes it."""
    bytes: int
    of_bare: float
    """Ratio to the requests of the bare endpoint in alternating slices: other load slows both."""


async def measure(folder: Path, paths: dict[str, list[str]]) -> dict[str, Load]:
    """Measure every list of addresses, alternating with the bare endpoint."""
    await install(to_stderr)
    async with Stack([Part.POSTGRESQL]) as stack:
        url = await stack.postgresql.create_database("bench_api")
        await _fill(url)
        loads: dict[str, Load] = {}
        async with (
            api_running(url, folder, PREDICTIVE_SCALING_API_REQUESTS_PER_SECOND="1000000") as api,
            _bare(folder) as (bare, bare_pid),
        ):
            comparison = _targets(folder / "bare.targets", bare, ["/bare"])
            for name, addresses in paths.items():
                _notify(f"api: {name}")
                targets = _targets(folder / "api.targets", api.port, addresses)
                loads[name] = await _load(folder, targets, len(addresses), api.process.pid, comparison)
            loads["bare endpoint"] = await _load(folder, comparison, 1, bare_pid, comparison)
        await stack.postgresql.drop_database("bench_api")
    return loads


def as_markdown(loads: dict[str, Load]) -> str:
    """Return a table with one row per list of addresses."""
    rows = [
        f"| {name} | {load.paced_median_ms:.1f} | {load.paced_p99_ms:.1f} | {load.requests_per_second:,.0f} "
        f"| {load.of_bare:.2f} | {load.cpu_ms:.2f} | {load.bytes / 1000:,.1f} |"
        for name, load in loads.items()
    ]
    head = (
        f"| request | median ms at {RATE}/s | p99 ms at {RATE}/s | most a second | of a bare endpoint | CPU ms | kB |"
    )
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
        distance = timedelta(days=DECISION_DAYS) / DECISIONS
        values = {"now": now, "policies": POLICIES, "decisions": DECISIONS, "distance": distance}
        async with database.connection() as connection:
            await connection.execute(_DECISIONS, values)
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


def _targets(file: Path, port: int, paths: list[str]) -> Path:
    file.write_text("".join(f"GET http://127.0.0.1:{port}{path}\n" for path in paths))
    return file


async def _load(folder: Path, targets: Path, paths: int, pid: int, bare: Path) -> Load:
    paced = await attack(targets, seconds=RATE_SECONDS, connections=CONNECTIONS, rate=RATE, folder=folder)
    requests, cpu_seconds, rates, bare_rates = 0, 0.0, list[float](), list[float]()
    for _ in range(SLICES):
        constant = await attack(bare, seconds=SLICE_SECONDS, connections=CONNECTIONS, folder=folder)
        bare_rates.append(constant.requests_per_second)
        before = _cpu_seconds(pid)
        unpaced = await attack(targets, seconds=SLICE_SECONDS, connections=CONNECTIONS, folder=folder)
        cpu_seconds += _cpu_seconds(pid) - before
        requests += unpaced.requests
        rates.append(unpaced.requests_per_second)
    return Load(
        paths=paths,
        paced_median_ms=paced.median_ms,
        paced_p99_ms=paced.p99_ms,
        requests_per_second=sum(rates) / SLICES,
        cpu_ms=1000 * cpu_seconds / requests,
        bytes=round(paced.bytes),
        of_bare=sum(rates) / sum(bare_rates),
    )


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
    missed = [name for name, load in loads.items() if load.paced_p99_ms >= P99_BAR_MS or load.of_bare < OF_BARE_BAR]
    print(
        f"p99 under {P99_BAR_MS:g} ms and a third of the bare rate: {f'missed by {missed}' if missed else 'met by all'}"
    )


if __name__ == "__main__":
    _serve_bare() if "--bare" in sys.argv else main()
