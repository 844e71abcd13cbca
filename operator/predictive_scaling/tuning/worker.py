"""Child process that computes tunings, so that no tick waits for them: tasks on stdin, results on stdout."""

import sys

from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.tuning.study import tune
from predictive_scaling.tuning.task import ENCODE, TASK_DECODER, Failed, Task, Tuning


def main() -> None:
    """Read all tasks from stdin and write their results to stdout in order.

    The process ends with its parent, because its stdin ends then.
    """
    sys.stdout.buffer.write(ENCODE([run_task(task) for task in TASK_DECODER.decode(sys.stdin.buffer.read())]))


def run_task(task: Task) -> Tuning | Failed:
    """Return the tuning of one task, or the reason why it failed."""
    try:
        return tune(task)
    except PredictiveScalingError as error:
        return Failed(str(error))
    except Exception as error:
        # The other tasks of the batch go on; the parent logs the reason.
        return Failed(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
