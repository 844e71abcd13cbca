"""The child process in which tunings are computed, so that no tick waits for them: tasks in, what was found out."""

import sys

from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.tuning.study import tune
from predictive_scaling.tuning.task import ENCODE, TASKS, Failed, Task, Tuning


def main() -> None:
    """Read all tasks from stdin, answer on stdout in their order. It ends when its parent does: stdin ends then."""
    sys.stdout.buffer.write(ENCODE([answer(task) for task in TASKS.decode(sys.stdin.buffer.read())]))


def answer(task: Task) -> Tuning | Failed:
    """One task; what cannot be answered is told, and stops no other."""
    try:
        return tune(task)
    except PredictiveScalingError as error:
        return Failed(str(error))
    except Exception as error:
        # The other policies of the batch are none the worse; the parent logs it.
        return Failed(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
