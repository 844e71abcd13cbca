"""Failpoints for crash tests: PREDICTIVE_SCALING_FAULT=NAME kills the process with SIGKILL at `failpoint(NAME)`.

Without the variable a failpoint does nothing. A separate module, as all layers use it.
"""

import os
import signal

VARIABLE = "PREDICTIVE_SCALING_FAULT"


def failpoint(name: str) -> None:
    """Kill this process when a test activated the failpoint `name`, such as `ingest.before_commit`."""
    if os.environ.get(VARIABLE) == name:
        os.kill(os.getpid(), signal.SIGKILL)
