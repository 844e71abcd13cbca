import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from predictive_scaling.clock import ManualClock
from predictive_scaling.telemetry.logs import configure_logs, log_file, masked

NOW = datetime(1998, 7, 3, 13, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] (autouse)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    yield
    for handler in list(root.handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_logs(**options: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(ManualClock(NOW), stream=stream, **options)
    return stream


def test_an_event_is_one_line_of_json_with_its_fields_and_the_clocks_time() -> None:
    stream = json_logs()
    structlog.get_logger("predictive_scaling.control").info("floor_raised", policy="shop/checkout", before=4, after=9)
    assert logged(stream) == [
        {
            "event": "floor_raised",
            "policy": "shop/checkout",
            "before": 4,
            "after": 9,
            "level": "info",
            "logger": "predictive_scaling.control",
            "timestamp": "1998-07-03T13:00:00.000Z",
        }
    ]


def test_the_libraries_log_in_the_same_format() -> None:
    logging.getLogger("kopf").addHandler(logging.StreamHandler(io.StringIO()))
    stream = json_logs()
    logging.getLogger("kopf").warning("Watching stopped: %s", "410")
    (line,) = logged(stream)
    assert (line["event"], line["logger"], line["level"]) == ("Watching stopped: 410", "kopf", "warning")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app:hunter2@db:5432/x?sslmode=require",
        "redis://:hunter2@cache:6379/0",
        "host=db user=app password=hunter2 dbname=x",
        "password = 'hunter2 and more' host=db",
        "postgresql://app@db/x?password=hunter2&sslmode=require",
        "sasl.password=hunter2",
        "postgresql://app:p:hunter2@db/x",
    ],
)
def test_passwords_of_connection_strings_are_masked(text: str) -> None:
    assert "hunter2" not in masked(text)
    assert "db" not in text or "db" in masked(text)


def test_secrets_are_masked_wherever_they_stand() -> None:
    stream = json_logs()
    log = structlog.get_logger("x")
    log.info("read", settings={"nested": [{"api_token": "hunter2"}]}, url="redis://:hunter2@cache", password="hunter2")
    log.info("failed for postgresql://a:hunter2@db/x", error=OSError("redis://:hunter2@cache"))
    logging.getLogger("psycopg").error("dsn: %s", "postgresql://a:hunter2@db/x")
    log.error("gone", exc_info=OSError("postgresql://a:hunter2@db/x is away"))
    assert "hunter2" not in stream.getvalue()
    assert len(logged(stream)) == 4
    assert "OSError" in logged(stream)[3]["exception"]


def test_the_console_is_for_people_and_masked_too() -> None:
    stream = json_logs(style="console")
    structlog.get_logger("x").info("connected", url="redis://:hunter2@cache")
    assert "connected" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_what_is_below_the_level_is_not_logged() -> None:
    stream = json_logs(level="warning")
    structlog.get_logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    structlog.get_logger("x").warning("loud")
    assert [line["event"] for line in logged(stream)] == ["loud"]


def test_a_file_gets_the_same_events_and_survives_rotation(tmp_path: Path) -> None:
    file = log_file("api", tmp_path / "logs")
    json_logs(file=file)
    structlog.get_logger("x").info("first")
    file.rename(tmp_path / "api.log.1")
    structlog.get_logger("x").info("second")
    assert json.loads((tmp_path / "api.log.1").read_text())["event"] == "first"
    assert json.loads(file.read_text())["event"] == "second"
