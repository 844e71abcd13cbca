"""`predictive-scaling stack up` and `down` as subprocesses."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis.asyncio

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "stack"
    yield folder
    _stack("down", folder)


async def test_a_detached_stack_and_its_env_file_remain_until_down(folder: Path) -> None:
    up = _stack("up", folder, "--detach", "--only", "redis", "--only", "postgresql")
    assert up.returncode == 0, up.stderr
    assert up.stdout == (folder / "env").read_text()
    exported = _exported(folder)
    async with redis.asyncio.from_url(exported["REDIS_URL"]) as client:
        assert await client.ping()
    async with await psycopg.AsyncConnection.connect(exported["DATABASE_URL"]) as connection:
        await connection.execute("select from metrics_raw")
    down = _stack("down", folder)
    assert (down.returncode, "stopped" in down.stderr) == (0, True)
    assert not (folder / "env").exists()
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(exported["DATABASE_URL"])


def test_a_second_stack_in_the_same_folder_is_refused(folder: Path) -> None:
    assert _stack("up", folder, "--detach", "--only", "redis").returncode == 0
    second = _stack("up", folder, "--only", "redis")
    assert second.returncode == 69
    assert "runs in" in second.stderr
    assert "predictive-scaling stack down" in second.stderr


def test_down_without_a_stack_succeeds(folder: Path) -> None:
    down = _stack("down", folder)
    assert (down.returncode, "no stack runs" in down.stderr) == (0, True)


async def test_a_folder_is_reusable_after_its_owner_was_killed(folder: Path) -> None:
    first = _stack("up", folder, "--detach", "--only", "redis")
    os.kill(int((folder / "lock").read_text()), signal.SIGKILL)
    second = _stack("up", folder, "--detach", "--only", "redis")
    assert second.returncode == 0, second.stderr
    assert second.stdout != first.stdout
    async with redis.asyncio.from_url(_exported(folder)["REDIS_URL"]) as client:
        assert await client.ping()


def test_a_failed_start_exits_with_69_and_names_the_cause(folder: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "KUBEBUILDER_ASSETS": str(tmp_path / "missing")}
    up = _stack("up", folder, "--detach", "--only", "kubernetes", environment=environment)
    assert up.returncode == 69
    assert str(tmp_path / "missing") in up.stderr


def test_a_foreground_stack_cleans_up_on_sigterm(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "predictive_scaling", "stack", "up", "--folder", str(folder), "--only", "redis"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("export REDIS_URL=")
        process.terminate()
        assert process.wait(timeout=240) == 0
    assert list(temporary.iterdir()) == []
    assert not (folder / "env").exists()


def _stack(
    command: str, folder: Path, *options: str, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    command_line = [sys.executable, "-m", "predictive_scaling", "stack", command, "--folder", str(folder), *options]
    return subprocess.run(command_line, capture_output=True, text=True, timeout=600, env=environment, check=False)


def _exported(folder: Path) -> dict[str, str]:
    """Return the environment of a shell that sourced the env file."""
    script = f". {folder / 'env'}; env"
    output = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
