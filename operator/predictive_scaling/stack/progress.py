"""What set-up is doing, for people who wait."""

import sys
from collections.abc import Callable

Say = Callable[[str], None]


def to_stderr(message: str) -> None:
    """Tell at once; standard output is kept for results."""
    print(f"[stack] {message}", file=sys.stderr, flush=True)


def silently(message: str) -> None:
    """Tell nobody."""
    del message
