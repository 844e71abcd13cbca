"""The logs of real processes: every line is JSON with its fields, requests have their ids, and no secret is in them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from predictive_scaling.stack.ports import free_ports
from tests.support.api_process import api_running, log_events, start_process
from tests.support.eventually import eventually, exit_code

pytestmark = pytest.mark.integration

DATABASE, REDIS, KAFKA, TOKEN, GUESS, QUERY, AWS = (
    f"planted-{name}-{'0123456789' * 3}" for name in ("database", "redis", "kafka", "token", "guess", "query", "aws")
)
SECRETS = (DATABASE, REDIS, KAFKA, TOKEN, GUESS, QUERY, AWS)


def with_password(url: str, password: str) -> str:
    """Return the URL with a password; the local server accepts any."""
    parts = urlsplit(url)
    user = parts.username or "postgres"
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{place}"))


def settings_of(folder: Path) -> dict[str, str]:
    """Return settings with a secret in each place that takes one; Redis and Kafka are unreachable."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN},viewer,read,*\n")
    sasl = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "app",
        "sasl.password": KAFKA,
    }
    return {
        "REDIS_URL": f"redis://:{REDIS}@127.0.0.1:1/0",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "PREDICTIVE_SCALING_KAFKA_OPTIONS": json.dumps(sasl),
        "PREDICTIVE_SCALING_API_AUTHENTICATION": "tokens",
        "PREDICTIVE_SCALING_API_TOKENS_FILE": str(tokens),
        "PREDICTIVE_SCALING_LOG_LEVEL": "debug",
        "AWS_SECRET_ACCESS_KEY": AWS,
    }


def checked_lines(log: Path) -> list[dict[str, Any]]:
    """Return the lines of a log. Fails for a line that is no JSON, lacks a field or has a secret."""
    text = log.read_text()
    for secret in SECRETS:
        assert secret not in text, [line for line in text.splitlines() if secret in line]
    lines = log_events(log)
    assert lines
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys(), line
        assert line["level"] in ("debug", "info", "warning", "error"), line
        assert line["timestamp"].endswith("Z"), line
    return lines


async def request(url: str, path: str, request_id: str, token: str, method: str = "GET") -> int:
    headers = {"X-Request-Id": request_id, "Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
        return (await client.request(method, f"{url}{path}", headers=headers)).status_code


async def test_every_line_about_a_request_has_its_id_and_none_has_a_secret(tmp_path: Path) -> None:
    url = f"postgresql://app:{DATABASE}@127.0.0.1:1/nothing"
    async with api_running(url, tmp_path, **settings_of(tmp_path)) as api:
        assert await request(api.url, "/health", "health-1", TOKEN) == 503
        assert await request(api.url, f"/api/v1/policies?search={QUERY}", "read-1", TOKEN) == 503
        assert await request(api.url, f"/api/v1/policies?token={QUERY}", "read-2", TOKEN) == 422
        assert await request(api.url, "/api/v1/policies", "guess-1", GUESS) == 401
        assert await request(api.url, "/api/v1/scaling/decisions/stuck", "write-1", TOKEN, "DELETE") == 403
        assert await api.terminate() == 0
    lines = checked_lines(api.log)
    requests = {
        line["request_id"]: line["event"] for line in lines if line["event"] in ("request_failed", "write_audited")
    }
    assert requests == {"read-1": "request_failed", "write-1": "write_audited"}
    by_storage = [line for line in lines if line["logger"].startswith("psycopg") and "request_id" in line]
    assert {line["request_id"] for line in by_storage} <= {"health-1", "read-1"}


@pytest.mark.parametrize("command", ["ingest", "train", "check", "migrate"])
async def test_a_process_without_its_servers_logs_no_secret(
    migrated_database_url: str, tmp_path: Path, command: str
) -> None:
    log = tmp_path / "process.log"
    ports = dict(zip(("INGEST_PORT", "TRAINER_PORT"), map(str, free_ports(2)), strict=True))
    settings: Mapping[str, str] = {
        **settings_of(tmp_path),
        **{f"PREDICTIVE_SCALING_{name}": port for name, port in ports.items()},
        "DATABASE_URL": with_password(migrated_database_url, DATABASE),
        "PREDICTIVE_SCALING_MODELS_DIR": str(tmp_path / "models"),
    }
    arguments = [command, "--output", "json"] if command == "check" else [command]
    process = await start_process(*arguments, log=log, settings=settings)
    if command == "ingest":

        async def kafka_failed() -> bool:
            return "127.0.0.1:1" in log.read_text()

        await eventually(kafka_failed, seconds=60)
        process.terminate()
    await exit_code(process)
    if command == "ingest":
        checked_lines(log)
    # The others print their results as text.
    for secret in SECRETS:
        assert secret not in log.read_text()


async def test_a_password_that_the_server_refuses_is_in_no_line(tmp_path: Path) -> None:
    """A server that answers with an error which contains the connection string, as proxies do."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        message = f"SFATAL\0C28P01\0Mno entry for postgresql://app:{DATABASE}@db:5432/x\0\0".encode()
        writer.write(b"E" + (len(message) + 4).to_bytes(4, "big") + message)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://app:{DATABASE}@127.0.0.1:{port}/x?sslmode=disable"
        async with api_running(url, tmp_path, **settings_of(tmp_path)) as api:
            assert await request(api.url, "/api/v1/policies", "read-3", TOKEN) == 503
            assert await api.terminate() == 0
    lines = checked_lines(api.log)
    assert any("no entry for" in json.dumps(line) for line in lines)
