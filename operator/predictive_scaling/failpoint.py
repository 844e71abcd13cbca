"""Where crash tests end a process: PREDICTIVE_SCALING_FAULT=NAME kills it, as a power cut would, at `point(NAME)`.

For tests only. Without the variable, points cost one comparison and do nothing.
"""

import os
import signal

VARIABLE = "PREDICTIVE_SCALING_FAULT"
_chosen = os.environ.get(VARIABLE, "")


def failpoint(name: str) -> None:
    """Die here by SIGKILL when a test chose this point, such as `ingest.before_commit`."""
    if _chosen and name == _chosen:
        os.kill(os.getpid(), signal.SIGKILL)
