"""Plugins and process settings of all tests."""

import ctypes
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

pytest_plugins = [f"tests.fixtures.{name}" for name in ("stack", "operators", "api", "models", "logs", "chart")]

# Imports and the collection of the tests leave hardly any garbage: to search for it would take a fifth of their time.
gc.disable()

# A shell's background job ignores SIGINT, and its child processes inherit that: tests that send SIGINT would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without bytecode each subprocess would compile pandas and LightGBM again: four seconds instead of one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Fewer garbage collections in the control plane, etcd and kubectl, for 150 MB of memory: a quarter less CPU time.
os.environ.setdefault("GOGC", "400")
# One thread of Go code each: idle ones spin while they look for work, which takes a fifth of the CPU time.
os.environ.setdefault("GOMAXPROCS", "1")

# kubectl and Helm compress and parse all their translations at each start, half of its CPU time. This catalog has only
# seven texts, all of help for kubeconfig; no system has a locale of this name, so the other programs speak English.
os.environ.setdefault("LC_MESSAGES", "zh_TW.kubectl")

# Timers of the tests and of all processes that they start may be 5 ms late, and the kernel lets those that are due
# together wake a core once. Go's monitor thread asks for 20 microseconds each time: a tenth of a server's CPU time.
_PR_SET_TIMERSLACK, _SLACK_NANOSECONDS = 29, 5_000_000
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, _SLACK_NANOSECONDS, 0, 0, 0)

# A process that becomes ready does not interrupt another one, whose data would leave the caches: 7 % less CPU time.
if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))

# A thousand databases of hundreds of files each: ext4 does not reuse a deleted file's inode for some seconds, and the
# search for another takes a tenth of the tests' CPU time.
_MEMORY, _MEMORY_BYTES = "/dev/shm", 8 << 30  # noqa: S108 (the names in it are random)
if "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK):
    filesystem = os.statvfs(_MEMORY)
    if not filesystem.f_flag & os.ST_NOEXEC and filesystem.f_bavail * filesystem.f_frsize >= _MEMORY_BYTES:
        os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY

# As `predictive-scaling` itself: the matrices are small, and BLAS threads that wait spin.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The duration of an example depends more on the machine than on the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# The default renders exceptions with the local variables of each frame, which takes a third of a second each.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Replace the scheduler that runs each file in one worker."""
    from tests.support.scheduling import SharedServers

    return SharedServers(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Search for garbage from now on, but not among the modules and tests, which stay."""
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
