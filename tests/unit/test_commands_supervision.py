"""Threads of the process: how many there are, and its end even if a thread or a task does not end."""

import asyncio
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace
from typing import Any

import pytest

from predictive_scaling.commands import supervision
from predictive_scaling.errors import LeadershipLostError

HANGING = {
    "a thread": """
        import concurrent.futures
        import threading
        pool = concurrent.futures.ThreadPoolExecutor()
        pool.submit(threading.Event().wait)
    """,
    "a task": """
        import asyncio
        async def refuses() -> None:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
        async def main() -> None:
            task = asyncio.create_task(refuses())
            await asyncio.sleep(0)
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("hanging", HANGING.values(), ids=HANGING.keys())
def test_a_hanging_process_ends_with_its_exit_code(hanging: str) -> None:
    setup = "from predictive_scaling.commands.supervision import end_process_after\nend_process_after(0.2, 79)\n"
    program = setup + textwrap.dedent(hanging)
    result = subprocess.run([sys.executable, "-c", program], timeout=280, check=False, capture_output=True, text=True)
    assert result.returncode == LeadershipLostError.exit_code == 79
    assert "shutdown_overdue" in result.stdout


def end_nothing(_seconds: float, _exit_code: int) -> None:
    """In place of the end of the process."""


async def test_requests_to_aws_end_before_the_lease_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def step(name: str) -> Any:
        async def run() -> None:
            steps.append(name)

        return run

    operator: Any = SimpleNamespace(
        aws=SimpleNamespace(close=step("aws")),
        leadership=SimpleNamespace(lost=asyncio.Event(), leads=True, release=step("lease")),
        aggregated=None,
        watch=SimpleNamespace(start=lambda: None, stop=step("watch")),
        tasks=(),
    )
    stop = asyncio.Event()
    stop.set()
    monkeypatch.setattr(supervision, "end_process_after", end_nothing)
    await supervision.run_until(stop, operator)
    assert steps == ["aws", "lease", "watch"]


def test_a_command_that_loads_numpy_has_one_thread_unless_the_environment_sets_more() -> None:
    program = """
        import atexit, os, sys
        from predictive_scaling.__main__ import main
        atexit.register(lambda: print("numpy" in sys.modules, len(os.listdir("/proc/self/task"))))
        sys.argv = ["predictive-scaling", "backtest", "--help"]
        main()
    """
    inherited = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    for chosen, threads in (({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, min(2, os.cpu_count() or 1))):
        command = [sys.executable, "-c", textwrap.dedent(program)]
        output = subprocess.run(command, env=inherited | chosen, capture_output=True, check=True, text=True).stdout
        assert output.splitlines()[-1] == f"True {threads}"
