"""Failpoints for crash tests: PREDICTIVE_SCALING_FAULT=NAME kills the process with SIGKILL at `failpoint(NAME)`.

Without the variable a failpoint costs one comparison and does nothing. A separate module, as all layers use it.
"""

import os
import signal

VARIABLE = "PREDICTIVE_SCALING_FAULT"
_active = os.environ.get(VARIABLE, "")


def failpoint(name: str) -> None:
    """Kill this process when a test activated the failpoint `name`, such as `ingest.before_commit`."""
    if _active and name == _active:
        os.kill(os.getpid(), signal.SIGKILL)
