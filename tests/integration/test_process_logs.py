"""The logs of real processes: every line is JSON with its fields, requests have their ids, and no secret is in them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from predictive_scaling.stack.ports import free_ports
from tests.support.api_process import api_running, start_process
from tests.support.eventually import eventually, exit_code
from tests.support.log_lines import checked_lines, with_password

pytestmark = pytest.mark.integration

DATABASE, REDIS, KAFKA, TOKEN, GUESS, QUERY, AWS = (
    f"planted-{name}-{'0123456789' * 3}" for name in ("database", "redis", "kafka", "token", "guess", "query", "aws")
)
SECRETS = (DATABASE, REDIS, KAFKA, TOKEN, GUESS, QUERY, AWS)


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
    lines = checked_lines(api.log, SECRETS)
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
    process = start_process(*arguments, log=log, settings=settings)
    if command == "ingest":

        async def kafka_failed() -> bool:
            return "127.0.0.1:1" in log.read_text()

        await eventually(kafka_failed, seconds=60)
        process.terminate()
    await exit_code(process)
    if command == "ingest":
        checked_lines(log, SECRETS)
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
    lines = checked_lines(api.log, SECRETS)
    assert any("no entry for" in json.dumps(line) for line in lines)


def a_kubeconfig(token: str) -> str:
    """Return the text of a kubeconfig with a token, for a server that does not exist."""
    cluster = {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": token}}],
        }
    )


@pytest.mark.parametrize(
    ("kubeconfig", "reason"),
    [
        (a_kubeconfig(TOKEN), "SchemaMismatch"),
        (f"users: [{{user: {{token: {TOKEN}: [", "InvalidSettings"),
        (f"- token: {TOKEN}", "InvalidSettings"),
        ("{}", "InvalidSettings"),
    ],
    ids=["without the schema", "malformed kubeconfig", "other document", "empty kubeconfig"],
)
async def test_an_operator_that_cannot_start_ends_its_log_with_the_reason(
    database_url: str, tmp_path: Path, kubeconfig: str, reason: str
) -> None:
    log, file, (port,) = tmp_path / "operator.log", tmp_path / "kubeconfig", free_ports(1)
    file.write_text(kubeconfig)
    settings = {
        **settings_of(tmp_path),
        "KUBECONFIG": str(file),
        "DATABASE_URL": with_password(database_url, DATABASE),
        "PREDICTIVE_SCALING_HOST": "127.0.0.1",
        "PREDICTIVE_SCALING_OPERATOR_PORT": str(port),
        "PREDICTIVE_SCALING_MODELS_DIR": str(tmp_path / "models"),
    }
    process = start_process("operator", log=log, settings=settings)
    assert await exit_code(process) == 78
    last = checked_lines(log, SECRETS)[-1]
    assert (last["event"], last["level"], last["exit_code"]) == ("process_failed", "error", 78)
    assert last["reason"] == reason
