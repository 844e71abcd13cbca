"""Settings in any cluster: with the variables of any Service and with any password."""

import contextlib
import io
import json
import os
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any
from unittest import mock
from urllib.parse import quote

import psycopg
import pytest
import structlog
from hypothesis import assume, example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from redis.asyncio import Redis

from predictive_scaling.clock import ManualClock
from predictive_scaling.connection_urls import check_url
from predictive_scaling.errors import DatabaseUnavailableError, SettingsError
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.settings_sources import setting_name
from predictive_scaling.storage.database import Database, connection_arguments
from predictive_scaling.telemetry.logs import configure_logs, masked

PORT_SETTINGS = [name for name in Settings.model_fields if name.endswith("_port")]
SERVICES_OF_SETTINGS = [f"predictive-scaling-{name.replace('_', '-')}" for name in Settings.model_fields]
OWN_SERVICES = [
    "predictive-scaling",
    *SERVICES_OF_SETTINGS,
    *(name.removesuffix("-port") for name in SERVICES_OF_SETTINGS if name.endswith("-port")),
]

service_names = st.sampled_from(OWN_SERVICES) | st.from_regex(
    r"predictive-scaling(-[a-z0-9]{1,8}){0,3}", fullmatch=True
)
addresses = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(lambda address: f"[{address}]")
ports = st.lists(
    st.tuples(
        st.integers(1, 65535),
        st.sampled_from(["TCP", "UDP", "SCTP"]),
        st.none() | st.from_regex(r"[a-z]([a-z0-9-]{0,13}[a-z0-9])?", fullmatch=True),
    ),
    min_size=1,
    max_size=4,
)


def service_variables(service: str, address: str, ports: list[tuple[int, str, str | None]]) -> dict[str, str]:
    """The variables that the kubelet sets in every container for a Service (kubernetes, pkg/kubelet/envvars)."""
    prefix, host = service.upper().replace("-", "_"), address.strip("[]")
    variables = {f"{prefix}_SERVICE_HOST": host, f"{prefix}_SERVICE_PORT": str(ports[0][0])}
    for number, protocol, name in ports:
        if name:
            variables[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(number)
        link = f"{prefix}_PORT_{number}_{protocol}"
        url = f"{protocol.lower()}://{address}:{number}"
        variables.setdefault(f"{prefix}_PORT", url)
        variables |= {link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": str(number), f"{link}_ADDR": host}
    return variables


@contextmanager
def environment(**variables: str) -> Generator[None]:
    """Set exactly these variables of the product; variables of others are kept."""
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith("PREDICTIVE_SCALING")}
    for name in ("DATABASE_URL", "REDIS_URL"):
        others.pop(name, None)
    with mock.patch.dict(os.environ, others | variables, clear=True):
        yield


@cache
def default_settings() -> Settings:
    with environment():
        return read_settings()


@given(service_names, addresses, ports)
@example("predictive-scaling-api", "10.96.0.10", [(8000, "TCP", "http")])
@example("predictive-scaling-external-metrics", "10.96.0.10", [(443, "TCP", None)])
def test_no_service_of_the_namespace_changes_a_setting_or_prevents_a_start(
    service: str, address: str, ports: list[tuple[int, str, str | None]]
) -> None:
    with environment(**service_variables(service, address, ports)):
        assert read_settings() == default_settings()


@example("predictive-scaling-max-series-per-service", "10.0.0.1", [(80, "TCP", None)], 8001, "external_metrics_port")
@given(service_names, addresses, ports, st.integers(0, 65535), st.sampled_from(PORT_SETTINGS))
def test_a_port_setting_takes_precedence_over_service_variables(
    service: str, address: str, ports: list[tuple[int, str, str | None]], port: int, field: str
) -> None:
    # Variables of the pod specification replace those of Services.
    with environment(**(service_variables(service, address, ports) | {setting_name(field): str(port)})):
        assert getattr(read_settings(), field) == port


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREDICTIVE_SCALING_APY_PORT", "8000"),
        ("PREDICTIVE_SCALING_APY_SERVICE_HOST", "db.example"),
        ("PREDICTIVE_SCALING_API_PORT", "tcp://somewhere:8000"),
        ("PREDICTIVE_SCALING_API_PORT", "http://10.0.0.1:8000"),
        ("PREDICTIVE_SCALING_API_PORT", "tcp://10.0.0.1"),
        ("PREDICTIVE_SCALING_TICK", "tcp://10.0.0.1:8000"),
        ("PREDICTIVE_SCALING_X_PORT_8000_TCP_PROTO", "yes"),
    ],
)
def test_a_misspelt_variable_that_resembles_a_service_variable_is_refused(name: str, value: str) -> None:
    with environment(**{name: value}), pytest.raises(SettingsError, match=name):
        read_settings()


passwords = st.text(
    st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("@:/?#%[]&=' \"\\+,;\t\n"),
    min_size=4,
    max_size=24,
)


def leaked_parts(password: str, text: str, usual: str) -> set[str]:
    """Four-character parts of the password that occur in a text, but not in the same text with another password."""
    parts = {password[at : at + 4] for at in range(len(password) - 3)}
    return {part for part in parts if part in text and part not in usual and part.strip()}


def outputs(url: str, *, redis: bool = False) -> Iterator[str]:
    """Everything that a command, a log or a health check would show of an unreachable URL."""
    name = "REDIS_URL" if redis else "DATABASE_URL"
    with environment(**{name: url}):
        try:
            settings = read_settings()
        except SettingsError as error:
            yield str(error)
            yield from traceback.format_exception(error)
            return
    yield repr(settings)
    if redis:
        client = Redis.from_url(settings.redis_url.get_secret_value() if settings.redis_url else "")
        yield str(
            {key: value for key, value in client.connection_pool.connection_kwargs.items() if key in ("host", "port")}
        )
        return
    database = Database(settings.database_url.get_secret_value())
    yield database.where
    arguments: dict[str, Any] = connection_arguments(settings.database_url.get_secret_value(), "test")
    try:
        psycopg.connect(**arguments)
    except (psycopg.Error, ValueError) as error:
        yield str(DatabaseUnavailableError(f"PostgreSQL at {database.where}: {error}"))


@cache
def usual_outputs(url: str, *, redis: bool) -> str:
    """The outputs with other passwords, of each shape that changes how a URL is read."""
    return "".join(text for password in ("▮", "@", "\n", "@x:y") for text in outputs(url.format(password), redis=redis))


@given(passwords)
@example("p@ss-word-1")
@example("pa/ss/word")
@example("pa#ss?word")
@example("100%sure%zz")
@example("tcp:1234@5678:9")
@example("with a blank")
@example("ends with a break\n")
@example("@@@@host@@")
@example("[pass]word")
def test_no_output_contains_a_part_of_the_password(password: str) -> None:
    for url, redis in (("postgresql://app:{}@127.0.0.1:1/x", False), ("redis://:{}@127.0.0.1:1/0", True)):
        text = "".join(outputs(url.format(password), redis=redis))
        assert not leaked_parts(password, text, usual_outputs(url, redis=redis))


@given(passwords)
def test_an_encoded_password_is_decoded_unchanged(password: str) -> None:
    assume("\0" not in password)
    url = f"postgresql://app:{quote(password, safe='')}@127.0.0.1:5432/x"
    assert conninfo_to_dict(check_url(url, ["postgresql"]))["password"] == password
    with environment(DATABASE_URL=url + "\n"):
        assert read_settings().database_url.get_secret_value() == url


@given(passwords)
@example("p@ss@word")
def test_no_log_line_contains_a_part_of_the_password(password: str) -> None:
    assume(not any(character.isspace() for character in password))
    assert not leaked_parts(password, logged(password), logged("▮"))
    text = "cannot reach postgresql://app:{}@db:5432/x"
    assert not leaked_parts(password, masked(text.format(password)), masked(text.format("▮")))


def logged(password: str) -> str:
    stream = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.callback(structlog.reset_defaults)
        configure_logs(ManualClock(datetime(2026, 11, 27, tzinfo=UTC)), stream=stream)
        log = structlog.get_logger("test")
        log.warning("lost", error=f"postgresql://app:{password}@db:5432/x is away", url=f"redis://:{password}@cache")
        log.warning("lost", options={"sasl.password": password})
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2
    return json.dumps(lines, ensure_ascii=False)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost:5432/predictive_scaling",
        "postgresql:///x?host=/var/run/postgresql",
        "postgresql://app@/x",
        "postgresql://app:pw@one:5432,two:5433/x?target_session_attrs=read-write",
        "postgresql://app:p%40ss@[2001:db8::1]:5432/x",
        "postgresql://%2Fvar%2Frun/x",
        "postgres://app:p:w@db/x?sslmode=require",
        "host=db user=app password='pw' dbname=x",
        "",
    ],
)
def test_every_unambiguous_libpq_url_is_accepted(url: str) -> None:
    assert check_url(url, ["postgresql", "postgres"]) == url
