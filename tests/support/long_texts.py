"""Parses long repetitive texts with the patterns for external input: `python -m tests.support.long_texts NAME SECONDS`.

It is a separate process, which the kernel kills after so many seconds of CPU time: a busy machine, where it runs
longer, does not matter.
"""

import contextlib
import resource
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Annotated, Any

from pydantic import TypeAdapter

from predictive_scaling.connection_urls import check_url
from predictive_scaling.external_metrics.selector import MAX_CHARACTERS, parse_selector
from predictive_scaling.ingest.formats.native import MAX_BYTES, decode
from predictive_scaling.ingest.rejected_message import RejectedMessage
from predictive_scaling.resources.quantities import DecimalBetween, Duration, DurationBetween
from predictive_scaling.resources.recurrence import RuleText, TimeOfDay
from predictive_scaling.resources.step import Step
from predictive_scaling.service_links import is_service_link
from predictive_scaling.telemetry.logs import masked

UNLIMITED = 200_000
"""Number of characters where the code has no limit."""

_PIECES = [
    "a",
    "1",
    "0",
    ".",
    "-",
    "_",
    " ",
    "\t",
    "\n",
    "\x00",
    "é",
    ",",
    ", ",
    " , ",
    "a,",
    "a, ",
    "a-",
    "/",
    "a/",
    "(",
    ")",
    " (",
    "!",
    "=",
    "a=",
    "a in (",
    '"',
    "'",
    "\\",
    '\\"',
    "{",
    "[",
    "://",
    ":",
    "@",
    "a:",
    "://a:",
    "%",
    "?",
    "#",
    "_PORT",
    "_SERVICE_PORT_",
    "_PORT_1",
    "password",
    "password ",
    "password=",
    "password='",
    'password="',
    "1h",
    "+1 %",
    " (+1",
    "FREQ=",
    "BYDAY=MO;",
    "MO,",
]

_PARTS: list[Any] = [
    Duration,
    Annotated[timedelta, DurationBetween("1m", "168h")],
    Annotated[float, DecimalBetween("0", "1")],
    Step,
    RuleText,
    TimeOfDay,
]


def long_texts(size: int, *starts: str) -> Iterator[str]:
    """Yield each start followed by repetitions of each piece, also with an unexpected last character."""
    for start in ("", *starts):
        for piece in _PIECES:
            text = start + piece * ((size - len(start) - 1) // len(piece))
            yield from (text, text + "!", text + "@")


def selectors() -> None:
    for text in long_texts(MAX_CHARACTERS, "a in (", "a notin (a", "a=", "!", "a in (a) ,", "a" * 40):
        with contextlib.suppress(ValueError):
            parse_selector(text)


def log_lines() -> None:
    for text in long_texts(UNLIMITED, "postgresql://"):
        masked(text)


def samples() -> None:
    for text in long_texts(MAX_BYTES, "{" * 80, "[" * 80 + '"'):
        with contextlib.suppress(RejectedMessage):
            decode(text.encode()[:MAX_BYTES])


def service_links() -> None:
    for text in long_texts(UNLIMITED):
        is_service_link(f"PREDICTIVE_SCALING_{text}", text)
        is_service_link("PREDICTIVE_SCALING_A_PORT", f"tcp://{text}")


def connection_urls() -> None:
    for text in long_texts(UNLIMITED, "postgresql://", "postgresql://a:b@c:"):
        with contextlib.suppress(ValueError):
            check_url(text, ["postgresql"])


def manifests() -> None:
    adapters = [TypeAdapter[Any](part) for part in _PARTS]
    for text in long_texts(UNLIMITED // 10):
        for adapter in adapters:
            with contextlib.suppress(ValueError):
                adapter.validate_python(text)


READERS: dict[str, Callable[[], None]] = {
    reader.__name__: reader for reader in (selectors, log_lines, samples, service_links, connection_urls, manifests)
}

if __name__ == "__main__":
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    READERS[sys.argv[1]]()
