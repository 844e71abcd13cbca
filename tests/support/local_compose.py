"""docker-compose.yml without containers: its processes as local ones, and a program `docker-compose` that handles them.

The processes run the commands of the file with its environment; only addresses, ports and folders are replaced by local
ones. PostgreSQL, Redis and Kafka are those of the local stack. The program asks this process, which owns them.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import yaml

from predictive_scaling.stack.ports import LOOPBACK, free_port
from predictive_scaling.stack.processes import Child, SingleProcess
from tests.support.api_process import PLAIN_HTTP
from tests.support.eventually import eventually
from tests.support.forked_program import ForkedProgram, start_program

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PROCESSES = ("api", "operator", "ingest", "trainer")
_SECRETS, _MODELS = "/run/secrets", "/app/models"
_CLIENT = """
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
connection.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
answer = json.loads(connection.makefile().readline())
if "program" in answer:
    os.chdir(answer["folder"])
    os.execvpe(answer["program"][0], answer["program"], answer["environment"])
sys.stdout.write(answer["output"])
sys.exit(answer["code"])
"""


class UsageError(Exception):
    """A command line that the program does not understand; the message says which part."""


@dataclass
class Instance:
    """A process of a service, with the operations of `Child` that the program needs."""

    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    port: int
    _process: ForkedProgram | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process, unless it runs; returns when it is live."""
        if self.running:
            return
        variables = {**os.environ, **self.environment}
        process = start_program(*self.command, environment=variables, output=self.log, folder=self.log.parent)
        self._process = process

        async def is_live() -> bool:
            if process.returncode is not None:
                raise RuntimeError(f"{self.log.stem} exited with {process.returncode}: {self.log.read_text()}")
            return await _responds(self.port, "/health/live")

        await eventually(is_live)

    async def stop(self) -> None:
        """Stop the process as a container: with SIGTERM, after ten seconds with SIGKILL."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            async with asyncio.timeout(10):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@dataclass
class LocalCompose:
    """The services. `start` them; `up`, `restart` and so on are those of the program."""

    folder: Path
    servers: Mapping[str, SingleProcess]
    """postgres, redis and kafka."""
    addresses: Mapping[str, str]
    """Local addresses by those of the file, such as `redis:6379`."""
    secrets: Mapping[str, str]
    """Content of the secret files."""
    settings: Mapping[str, Mapping[str, str]]
    """Settings of the test by service, in addition to those of the file."""
    programs: Mapping[str, Mapping[str, Sequence[str]]]
    """Local programs by service and name, for `exec`."""
    server_environment: Mapping[str, str]
    """Environment of these programs."""
    _instances: dict[str, list[Instance]] = field(default_factory=dict[str, list[Instance]])

    def __post_init__(self) -> None:
        for name in ("secrets", "models"):
            (self.folder / name).mkdir(exist_ok=True)
        for name, content in self.secrets.items():
            (self.folder / "secrets" / name).write_text(content)

    def port(self, service: str) -> int:
        """The port of the first instance."""
        return self._instances[service][0].port

    def running_ports(self, service: str) -> list[int]:
        """The ports of the instances that run."""
        return [instance.port for instance in self._instances[service] if instance.running]

    async def scale(self, service: str, count: int) -> None:
        """Start or stop instances; each has its own port. Returns when all are live."""
        instances = self._instances.setdefault(service, [])
        while len(instances) > count:
            await instances.pop().stop()
        while len(instances) < count:
            port = free_port()
            log = self.folder / f"{service}-{len(instances) + 1}.log"
            instances.append(Instance(SERVICES[service]["command"], self.environment(service, port), log, port))
            await instances[-1].start()

    async def stop(self, service: str) -> None:
        """Stop all instances of a process, or a server."""
        await asyncio.gather(*(child.stop() for child in self._children(service)))

    async def start(self, service: str) -> None:
        """Start what `stop` stopped; returns when it is live."""
        await asyncio.gather(*(child.start() for child in self._children(service)))

    def environment(self, service: str, port: int) -> dict[str, str]:
        """The environment of a process: that of the file, with local addresses, and the settings of the test."""
        declared: dict[str, str] = SERVICES[service]["environment"]
        return {
            **{name: self._local(value) for name, value in declared.items()},
            "PREDICTIVE_SCALING_HOST": LOOPBACK,
            f"PREDICTIVE_SCALING_{service.upper()}_PORT": str(port),
            "PREDICTIVE_SCALING_MODELS_DIR": str(self.folder / "models"),
            **self.settings.get(service, {}),
        }

    async def close(self) -> None:
        """Stop all processes."""
        await asyncio.gather(*(self.scale(service, 0) for service in self._instances))

    def _local(self, value: str) -> str:
        for address, local in {**self.addresses, _SECRETS: str(self.folder / "secrets")}.items():
            value = value.replace(address, local)
        return value

    def _children(self, service: str) -> Sequence[Child | Instance]:
        if service in self.servers:
            return [self.servers[service].server]
        if service not in self._instances:
            raise UsageError(f"no such service: {service}")
        return self._instances[service]

    def _log_files(self, service: str) -> list[Path]:
        return [child.log for child in self._children(service)]

    async def answer(self, arguments: list[str]) -> dict[str, Any]:
        """Carry out a command of the program. Returns its output and exit code, or the program to execute instead."""
        command, *rest = arguments
        try:
            if command == "exec":
                return self._program(rest)
            actions = {"ps": self._list, "logs": self._logs, "up": self._up}
            action = actions.get(command) or partial(self._lifecycle, command)
            return {"output": await action(rest), "code": 0}
        except UsageError as error:
            return {"output": f"{error}\n", "code": 1}

    def _program(self, arguments: list[str]) -> dict[str, Any]:
        service, name, *rest = arguments[1:] if arguments[0] == "-T" else arguments
        self._children(service)
        program = [*self.programs.get(service, {}).get(name, [name]), *map(self._local, rest)]
        environment = {**os.environ, **self.server_environment}
        if service in PROCESSES:
            environment |= {"PYTHONPATH": str(ROOT / "operator"), **self.environment(service, self.port(service))}
        return {"program": program, "environment": environment, "folder": str(self.folder)}

    async def _list(self, arguments: list[str]) -> str:
        lines = [f"{'NAME':<32}{'SERVICE':<12}STATUS"]
        for service in arguments or [*self.servers, *self._instances]:
            for number, child in enumerate(self._children(service), 1):
                status = "Up" if child.running else "Exited"
                if child.running and isinstance(child, Instance):
                    status += f" ({'healthy' if await _responds(child.port, '/health/ready') else 'unhealthy'})"
                lines.append(f"{f'predictive-scaling-{service}-{number}':<32}{service:<12}{status}")
        return "".join(f"{line}\n" for line in lines)

    async def _logs(self, arguments: list[str]) -> str:
        count = None
        while arguments and arguments[0].startswith("-"):
            option, *arguments = arguments
            if option == "--tail":
                count, arguments = int(arguments[0]), arguments[1:]
            elif option == "--since":
                arguments = arguments[1:]
            elif option != "--no-log-prefix":
                raise UsageError(f"unknown option of logs: {option}")
        lines = [
            line
            for service in arguments
            for file in self._log_files(service)
            for line in file.read_text(errors="replace").splitlines()[-(count or 0) :]
        ]
        return "".join(f"{line}\n" for line in lines)

    async def _up(self, arguments: list[str]) -> str:
        if arguments[:2] != ["-d", "--scale"]:
            raise UsageError(f"unknown arguments of up: {arguments}")
        service, _, count = arguments[2].partition("=")
        await self.scale(service, int(count))
        return f"{service} has {count} instances\n"

    async def _lifecycle(self, command: str, services: list[str]) -> str:
        steps = {"stop": [self.stop], "start": [self.start], "restart": [self.stop, self.start]}
        if command not in steps:
            raise UsageError(f"unknown command: {command}")
        for step in steps[command]:
            for service in services:
                await step(service)
        return f"{command}: {', '.join(services)}\n"


async def _responds(port: int, path: str) -> bool:
    """Whether a GET of the path succeeds."""
    try:
        async with httpx.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=10) as client:
            return (await client.get(f"http://{LOOPBACK}:{port}{path}")).is_success
    except httpx.TransportError:
        return False


@asynccontextmanager
async def served(compose: LocalCompose, program: Path) -> AsyncGenerator[None]:
    """Write the program `docker-compose` to a file and answer it."""
    path = str(compose.folder / "compose.socket")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = await compose.answer(json.loads(await reader.readline()))
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    _write_client(program, path)
    try:
        yield
    finally:
        server.close()
        await compose.close()


def _write_client(program: Path, socket: str) -> None:
    program.write_text(f"#!{sys.executable} -ES\n{_CLIENT.format(path=socket)}")
    program.chmod(0o755)


@asynccontextmanager
async def api_proxy(compose: LocalCompose) -> AsyncGenerator[int]:
    """The service `proxy`: a port whose connections are distributed over the instances of the API."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        ports = compose.running_ports("api")
        upstream = await asyncio.open_connection(LOOPBACK, ports[count % len(ports)])
        await asyncio.gather(_copy(reader, upstream[1]), _copy(upstream[0], writer), return_exceptions=True)

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
