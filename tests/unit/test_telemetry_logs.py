"""Log formats, log levels and the masking of secrets."""

import ast
import asyncio
import grp
import gzip
import io
import json
import logging
import os
import pwd
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from predictive_scaling.__main__ import main
from predictive_scaling.api.request_records import RequestRecords
from predictive_scaling.clock import ManualClock
from predictive_scaling.errors import DatabaseUnavailableError, SettingsError
from predictive_scaling.telemetry.logs import configure_logs, log_file, log_uncaught_exceptions, masked

PACKAGE = Path(__file__).parents[2] / "operator" / "predictive_scaling"
LOGROTATE = Path(__file__).parents[2] / "config" / "logrotate"
NOW = datetime(1998, 7, 3, 13, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] (autouse)
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


def log_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def json_logs(**options: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logs(ManualClock(NOW), stream=stream, **options)
    return stream


def test_an_event_is_a_json_line_with_its_fields_and_the_time_of_the_clock() -> None:
    stream = json_logs()
    structlog.get_logger("predictive_scaling.control").info("floor_raised", policy="shop/checkout", before=4, after=9)
    assert log_lines(stream) == [
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


def test_libraries_log_in_the_same_format() -> None:
    logging.getLogger("kopf").addHandler(logging.StreamHandler(io.StringIO()))
    stream = json_logs()
    logging.getLogger("kopf").warning("Watching stopped: %s", "410")
    (line,) = log_lines(stream)
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


def test_secrets_are_masked_in_every_part_of_an_event() -> None:
    stream = json_logs()
    log = structlog.get_logger("x")
    log.info("read", settings={"nested": [{"api_token": "hunter2"}]}, url="redis://:hunter2@cache", password="hunter2")
    log.info("failed for postgresql://a:hunter2@db/x", error=OSError("redis://:hunter2@cache"))
    logging.getLogger("psycopg").error("dsn: %s", "postgresql://a:hunter2@db/x")
    log.error("gone", exc_info=OSError("postgresql://a:hunter2@db/x is away"))
    assert "hunter2" not in stream.getvalue()
    assert len(log_lines(stream)) == 4
    assert "OSError" in log_lines(stream)[3]["exception"]


def test_the_console_style_is_readable_text_with_masked_secrets() -> None:
    stream = json_logs(style="console")
    structlog.get_logger("x").info("connected", url="redis://:hunter2@cache")
    assert "connected" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_events_below_the_log_level_are_not_logged() -> None:
    stream = json_logs(level="warning")
    structlog.get_logger("x").info("quiet")
    logging.getLogger("y").info("quiet")
    structlog.get_logger("x").warning("loud")
    assert [line["event"] for line in log_lines(stream)] == ["loud"]


def test_a_log_file_has_the_same_events_and_survives_rotation(tmp_path: Path) -> None:
    file = tmp_path / "logs" / "api.log"
    assert log_file("api", file.parent) == file
    json_logs(file=file)
    structlog.get_logger("x").info("first")
    file.rename(tmp_path / "api.log.1")
    structlog.get_logger("x").info("second")
    assert json.loads((tmp_path / "api.log.1").read_text())["event"] == "first"
    assert json.loads(file.read_text())["event"] == "second"


def test_a_log_directory_that_cannot_be_written_names_the_setting_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"PREDICTIVE_SCALING_LOG_DIR: cannot write .*api.log: .*; let the user"):
        json_logs(file=log_file("api", tmp_path / "file" / "logs"))


def test_rotations_by_the_shipped_configuration_lose_no_event(tmp_path: Path) -> None:
    """By logrotate itself where it is installed, else by the steps of its `create`: rename, then a new empty file."""
    folder = tmp_path / "logs"
    json_logs(file=log_file("api", folder))
    for number in range(3):
        structlog.get_logger("x").info("counted", number=number)
        rotate(folder, tmp_path)
    structlog.get_logger("x").info("counted", number=3)
    files = [*sorted(folder.glob("api.log.*"), reverse=True), folder / "api.log"]
    texts = [
        gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text() for file in files
    ]
    assert [json.loads(line)["number"] for line in "".join(texts).splitlines()] == [0, 1, 2, 3]
    assert stat.S_IMODE((folder / "api.log").stat().st_mode) == 0o640


def rotate(folder: Path, state_folder: Path) -> None:
    """Rotate the logs in `folder` as config/logrotate does in /var/log/predictive-scaling, as the current user."""
    program = shutil.which("logrotate", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        for file in sorted(folder.glob("api.log*"), reverse=True):
            number = int(file.suffix[1:]) if file.suffix != ".log" else 0
            file.rename(folder / f"api.log.{number + 1}")
        (folder / "api.log").touch()
        (folder / "api.log").chmod(0o640)
        return
    owner = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    text = LOGROTATE.read_text().replace("/var/log/predictive-scaling", str(folder)).replace("app app", owner)
    configuration = state_folder / "logrotate"
    configuration.write_text(text)
    configuration.chmod(0o644)
    folder.chmod(0o755)
    subprocess.run([program, "--force", "--state", state_folder / "state", configuration], check=True, timeout=60)


def test_every_line_about_a_decision_names_its_policy() -> None:
    """The log calls of the package, read as source: a line with a decision has its policy or its namespace."""
    incomplete: list[str] = []
    calls = 0
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            fields = {keyword.arg for keyword in node.keywords}
            if ast.unparse(node.func.value) == "log" and "decision" in fields:
                calls += 1
                if not fields & {"policy", "namespace"}:
                    incomplete.append(f"{file.name}:{node.lineno}")
    assert calls > 15
    assert incomplete == []


async def test_lines_of_what_a_request_calls_have_its_id() -> None:
    stream = json_logs()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await asyncio.to_thread(logging.getLogger("library").warning, "slow")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    transport = httpx.ASGITransport(app=RequestRecords(application))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        await client.get("/", headers={"X-Request-Id": "r-1"})
    structlog.get_logger("x").info("after")
    assert [line.get("request_id") for line in log_lines(stream) if line["event"] in ("slow", "after")] == ["r-1", None]


SECRET = "hunter2-of-the-database"


def failing(error: Exception) -> Callable[[], None]:
    """Return a program that configures its logs and fails."""

    def program() -> None:
        configure_logs(ManualClock(NOW))
        raise error

    return program


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseUnavailableError(f"no answer of postgresql://app:{SECRET}@db/x"), 75),
        (RuntimeError(f"no answer\nof postgresql://app:{SECRET}@db/x"), 1),
    ],
    ids=["expected", "unexpected"],
)
def test_a_failure_of_the_process_is_the_last_line_of_its_log(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("predictive_scaling.__main__.app", failing(error))
    monkeypatch.setattr("predictive_scaling.__main__.log_uncaught_exceptions", lambda: None)
    with pytest.raises(SystemExit) as end:
        main()
    output = capsys.readouterr()
    (line,) = [json.loads(line) for line in output.out.splitlines()]
    assert (end.value.code, line["exit_code"], line["event"], line["level"]) == (code, code, "process_failed", "error")
    assert output.err == ""
    assert ("exception" in line) == (code == 1), "a traceback only where nobody expected the error"
    assert SECRET not in output.out


def test_a_command_for_people_prints_its_failure_without_secrets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logs(ManualClock(NOW), stream=io.StringIO())

    def fail() -> None:
        raise DatabaseUnavailableError(f"no answer of postgresql://app:{SECRET}@db/x")

    monkeypatch.setattr("predictive_scaling.__main__.app", fail)
    monkeypatch.setattr("predictive_scaling.__main__.log_uncaught_exceptions", lambda: None)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "predictive-scaling: no answer of postgresql://app:…@db/x\n"


def test_exceptions_that_python_would_print_are_lines_of_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    log_uncaught_exceptions()
    configure_logs(ManualClock(NOW))

    def fail() -> None:
        raise RuntimeError(f"no answer of postgresql://app:{SECRET}@db/x")

    class Unclosable:
        def __del__(self) -> None:
            fail()

    thread = threading.Thread(target=fail, name="sender")
    thread.start()
    thread.join()
    del thread
    Unclosable()
    output = capsys.readouterr()
    lines = [json.loads(line) for line in output.out.splitlines()]
    assert [line["event"] for line in lines] == ["thread_failed", "exception_not_raised"]
    assert lines[0]["thread"] == "sender"
    assert output.err == ""
    assert SECRET not in output.out
