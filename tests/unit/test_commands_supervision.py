"""The end of the process, where something refuses to end."""

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
def test_whatever_hangs_the_process_ends_with_its_exit_code(hanging: str) -> None:
    begin = "from predictive_scaling.commands.supervision import end_process_after\nend_process_after(0.2, 79)\n"
    program = begin + textwrap.dedent(hanging)
    ended = subprocess.run([sys.executable, "-c", program], timeout=120, check=False, capture_output=True, text=True)
    assert ended.returncode == LeadershipLostError.exit_code == 79
    assert "shutdown_overdue" in ended.stdout
