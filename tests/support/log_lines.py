"""The lines of a process' log: JSON, one event each, and without secrets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.support.api_process import log_events


def with_password(url: str, password: str, port: int | None = None) -> str:
    """Return the URL with a password, and optionally with another port; the local server accepts any password."""
    parts = urlsplit(url)
    user, host, given = parts.username or "postgres", parts.hostname, parts.port
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}:{port or given}"))


def checked_lines(log: Path, secrets: Sequence[str]) -> list[dict[str, Any]]:
    """Return the lines of a log. Fails for a line that is no JSON, lacks a field or has a secret."""
    text = log.read_text()
    for secret in secrets:
        assert secret not in text, [line for line in text.splitlines() if secret in line]
    lines = log_events(log)
    assert lines
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys(), line
        assert line["level"] in ("debug", "info", "warning", "error"), line
        assert line["timestamp"].endswith("Z"), line
    return lines
