"""The process ends even if a thread or a task does not."""

import subprocess
import sys
import textwrap

import pytest

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
    result = subprocess.run([sys.executable, "-c", program], timeout=120, check=False, capture_output=True, text=True)
    assert result.returncode == LeadershipLostError.exit_code == 79
    assert "shutdown_overdue" in result.stdout
