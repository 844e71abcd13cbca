"""Fixtures by theme, for all kinds of tests."""

import os
import signal
import sys

import structlog

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.storage", "tests.fixtures.operators", "tests.fixtures.api"]

# A shell's background job ignores SIGINT, and so would every process that a test starts and then ends as Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each process that a test starts would compile pandas and LightGBM again: four seconds in place of one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The default renders an exception with the local variables of each frame: a third of a second each.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)
