"""`predictive-scaling ingest rewind` refuses what it cannot read before it touches anything."""

import pytest
from typer.testing import CliRunner

from predictive_scaling.commands.ingest import app
from predictive_scaling.errors import SettingsError


@pytest.mark.parametrize("time", ["yesterday", "2026-11-24T08:00:00", ""])
def test_a_time_to_go_back_to_needs_a_zone(time: str) -> None:
    result = CliRunner().invoke(app, ["rewind", "--to", time])
    assert isinstance(result.exception, SettingsError)
    assert f"--to is {time!r}" in str(result.exception)


def test_a_time_to_go_back_to_has_to_be_given() -> None:
    result = CliRunner().invoke(app, ["rewind"])
    assert result.exit_code == 2
