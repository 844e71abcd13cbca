"""Virtual time: timers expire in their order, at once, and only when no task can run."""

import asyncio
import time

from predictive_scaling.clock import monotonic
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_timers_expire_in_their_order_without_waiting() -> None:
    began, expired = time.perf_counter(), list[float]()

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        expired.append(seconds)
        assert monotonic() == asyncio.get_running_loop().time() == seconds

    await asyncio.gather(wait(7200.0), wait(0.5), wait(60.0))
    assert expired == [0.5, 60.0, 7200.0]
    assert time.perf_counter() - began < 3600


@in_virtual_time
async def test_work_takes_no_time() -> None:
    async def work() -> str:
        for _ in range(1000):
            await asyncio.sleep(0)
        time.sleep(0.02)  # noqa: ASYNC251 (a machine that is slow)
        return "done"

    assert await asyncio.wait_for(work(), timeout=0.001) == "done"


@in_virtual_time
async def test_threads_take_no_time() -> None:
    timer = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.to_thread(time.sleep, 0.02)
    assert monotonic() == 0
    assert not timer.done()
    await timer


@in_virtual_time
async def test_a_timer_of_decades_ends() -> None:
    await asyncio.sleep(1e9)


def test_the_clock_is_the_real_clock_again_afterwards() -> None:
    before = monotonic()
    test_work_takes_no_time()
    assert before <= monotonic() < before + 3600
