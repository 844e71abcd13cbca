"""Fixtures by theme, for all kinds of tests."""

import signal

pytest_plugins = ["tests.fixtures.stack", "tests.fixtures.storage", "tests.fixtures.operators", "tests.fixtures.api"]

# A shell's background job ignores SIGINT, and so would every process that a test starts and then ends as Ctrl-C does.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
