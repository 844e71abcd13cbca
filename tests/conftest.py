"""Plugins and process settings of all tests."""

import os
import signal
import sys

import structlog

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.operators", "tests.fixtures.api", "tests.fixtures.models"]

# A shell's background job ignores SIGINT, and its child processes inherit that: tests that send SIGINT would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without bytecode each subprocess would compile pandas and LightGBM again: four seconds instead of one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The default renders exceptions with the local variables of each frame, which takes a third of a second each.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)
