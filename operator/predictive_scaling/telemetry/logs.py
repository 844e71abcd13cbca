"""Structured logs of the product and of its libraries, as JSON or for a console."""

import logging
import logging.handlers
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from predictive_scaling.clock import Clock
from predictive_scaling.errors import PredictiveScalingError, SettingsError

MASK = "…"
LOG_FOLDER = Path("/var/log/predictive-scaling")
_WORD = re.compile(r"\S+")
# `password=…` of a libpq connection string, `'sasl.password': '…'` of a dictionary.
_PASSWORD_FIELD = re.compile(
    r"""(?P<name>password["']?\s*[:=]\s*)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&]+)""", re.IGNORECASE
)
_SECRET_FIELD = re.compile(r"password|passwd|secret|token|authorization|credential", re.IGNORECASE)
_MAX_DEPTH = 4
# Their INFO messages are noise for operators.
_NOISY_LOGGERS = ("aiohttp.access", "botocore", "kopf.activities", "kopf.objects", "urllib3", "uvicorn.access")


@dataclass(slots=True)
class _Output:
    """is_log: whether the standard output is a log in JSON, and so has no lines for people."""

    is_log: bool = False


_output = _Output()


def configure_logs(
    clock: Clock,
    *,
    level: str = "info",
    style: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Send all logs, including those of the standard library, to `stream` (default: stdout) and optionally to `file`.

    level: debug, info, warning or error. Timestamps are product time. Commands that print results pass stderr.
    The file, in JSON, is reopened after a rotation. A further call replaces the configuration. Raises SettingsError if
    the file cannot be opened.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        _Timestamp(clock),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handlers: list[logging.Handler] = [_StreamHandler(stream or sys.stdout)]
    if file is not None:
        handlers.append(_file_handler(file))
    for handler in handlers:
        handler.setFormatter(_formatter(shared, "console" if style == "console" and handler is handlers[0] else "json"))
    _route_everything(handlers, level.upper())
    _output.is_log = stream is None and style == "json"


def log_failure(error: BaseException, event: str = "process_failed", **fields: object) -> bool:
    """Log what ends the process, or a part of it, as one line with its traceback.

    Returns False without a line where the output of the process is for people.
    """
    if _output.is_log:
        expected = isinstance(error, PredictiveScalingError)
        structlog.get_logger(__name__).error(event, error=str(error), exc_info=None if expected else error, **fields)
    return _output.is_log


def log_uncaught_exceptions() -> None:
    """Log exceptions that Python would print: those of threads, and those raised where nothing can catch them."""
    print_of_thread, print_unraisable = threading.excepthook, sys.unraisablehook

    def thread_failed(uncaught: threading.ExceptHookArgs) -> None:
        error, thread = uncaught.exc_value, uncaught.thread
        name = None if thread is None else thread.name
        if error is None or not log_failure(error, "thread_failed", thread=name):
            print_of_thread(uncaught)

    def not_raised(uncaught: "sys.UnraisableHookArgs") -> None:
        error = uncaught.exc_value
        if error is None or not log_failure(error, "exception_not_raised", where=repr(uncaught.object)):
            print_unraisable(uncaught)

    threading.excepthook, sys.unraisablehook = thread_failed, not_raised


def log_file(name: str, folder: Path | None) -> Path | None:
    """Return the log file of the process `name`; None without a folder."""
    return None if folder is None else folder / f"{name}.log"


def _file_handler(file: Path) -> logging.Handler:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.WatchedFileHandler(file, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"PREDICTIVE_SCALING_LOG_DIR: cannot write {file}: {error.strerror}; "
            "let the user of the process write the directory, or unset it"
        ) from None


def masked(text: str) -> str:
    """Return the text with the passwords of URLs and connection strings masked.

    >>> masked("cannot reach postgresql://app:hunter2@db:5432/x")
    'cannot reach postgresql://app:…@db:5432/x'
    """
    if "://" in text:
        text = _WORD.sub(lambda word: _masked_url(word[0]), text)
    return _PASSWORD_FIELD.sub(rf"\g<name>{MASK}", text)


def _masked_url(word: str) -> str:
    """Mask a password up to the last @, as an @ inside it may be unencoded. No pattern, which could backtrack."""
    before, separator, rest = word.partition("://")
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{before}{separator}{user}:{MASK}@{host}" if at and colon else word


class _StreamHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream and ignores a closed pipe (`| head`)."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


class _Timestamp:
    """Adds the product time, RFC 3339 in UTC."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        event["timestamp"] = self._clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return event


def _formatter(shared: list[Processor], style: Literal["json", "console"]) -> logging.Formatter:
    rendering: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if style == "json":
        # Tracebacks are rendered before masking, because exception messages may contain connection strings.
        rendering += [structlog.processors.format_exc_info, _mask, structlog.processors.JSONRenderer(default=str)]
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        rendering += [structlog.processors.format_exc_info, _mask, console]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=rendering)


def _mask(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {key: _without_secrets(key, value) for key, value in event.items()}


def _without_secrets(key: str, value: Any, depth: int = 0) -> Any:
    if _SECRET_FIELD.search(key) and isinstance(value, str | bytes):
        return MASK
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        fields = cast("Mapping[Any, Any]", value)
        return {name: _without_secrets(str(name), inner, depth + 1) for name, inner in fields.items()}
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [_without_secrets("", inner, depth + 1) for inner in cast("list[Any]", value)]
    return masked(str(value)) if isinstance(value, BaseException) else value


def _route_everything(handlers: list[logging.Handler], level: str) -> None:
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    for name in _NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)
    logging.captureWarnings(capture=True)
