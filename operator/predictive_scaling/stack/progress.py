"""Progress messages for people."""

import sys
from collections.abc import Callable

Notify = Callable[[str], None]


def to_stderr(message: str) -> None:
    """Print a message to stderr immediately; stdout is for results."""
    print(f"[stack] {message}", file=sys.stderr, flush=True)


def ignore(message: str) -> None:
    """Drop the message."""
    del message
