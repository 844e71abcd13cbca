"""`predictive-scaling ingest`: arguments of `rewind`, and errors of retention."""

from datetime import datetime

import pytest
from typer.testing import CliRunner

from predictive_scaling.clock import ManualClock
from predictive_scaling.commands.ingest import app
from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.housekeeping import INTERVAL, retention_task
from tests.support.builders import NOON


@pytest.mark.parametrize("time", ["yesterday", "2026-11-24T08:00:00", ""])
def test_the_time_of_rewind_needs_a_time_zone(time: str) -> None:
    result = CliRunner().invoke(app, ["rewind", "--to", time])
    assert isinstance(result.exception, SettingsError)
    assert f"--to is {time!r}" in str(result.exception)


def test_rewind_requires_a_time() -> None:
    result = CliRunner().invoke(app, ["rewind"])
    assert result.exit_code == 2


async def test_an_unexpected_error_of_retention_does_not_stop_ingest() -> None:
    applied_at, clock = list[datetime](), ManualClock(NOON)

    async def fail_once(now: datetime) -> None:
        applied_at.append(now)
        if len(applied_at) == 1:
            raise RuntimeError("a type that the driver cannot read")

    task = retention_task(fail_once, clock)
    await task.attempt()
    assert (task.failures, task.last_error) == (1, "a type that the driver cannot read")
    clock.advance(INTERVAL)
    await task.attempt()
    assert (task.failures, applied_at) == (0, [NOON, NOON + INTERVAL])
