"""The stack runs from any folder and for any user that can clone the repository."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
import redis.asyncio

from predictive_scaling.stack.cache import cache_folder
from predictive_scaling.stack.server_user import ServerUser, temporary_base

pytestmark = pytest.mark.integration

CHECKOUT = Path(__file__).parents[2]
LONG_NAME = "a-name-of-60-characters-so-that-no-unix-socket-fits-below-it"
"""Two of them exceed the maximum of 107 bytes of a unix socket path."""
_READ_CAPABILITY = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


@dataclass(frozen=True)
class Clone:
    """A checkout with its own environment. run_as: prefix of each command."""

    folder: Path
    environment: Mapping[str, str]
    run_as: Sequence[str] = ()
    umask: int = 0o022
    started: list[Path] = field(default_factory=list[Path])

    def stack(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run `predictive-scaling stack` of the clone's environment."""
        program = self.folder / ".venv" / "bin" / "predictive-scaling"
        return subprocess.run(
            [*self.run_as, str(program), "stack", command, "--folder", "build/stack", *options],
            cwd=self.folder,
            env=dict(self.environment),
            umask=self.umask,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def exported(self) -> dict[str, str]:
        """Return the environment of a shell that sourced the stack's env file."""
        completed = subprocess.run(
            ["bash", "-c", ". build/stack/env; env"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return dict(line.split("=", 1) for line in completed.stdout.splitlines() if "=" in line)


@pytest.fixture(scope="module")
def private_folder() -> Iterator[Path]:
    """A folder in one that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="tests-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        private = Path(folder) / "private folder"
        private.mkdir(mode=0o700)
        yield private


@pytest.fixture(scope="module")
def checkout(private_folder: Path) -> Path:
    """A clone at a long path with spaces; its installation, and the first start of it, take ten CPU seconds."""
    folder = private_folder / LONG_NAME / LONG_NAME / "our checkout"
    clone_into(folder, umask=0o077)
    return folder


@pytest.fixture
def clones() -> Iterator[list[Clone]]:
    """Clones whose stacks are stopped at the end."""
    clones: list[Clone] = []
    yield clones
    for clone in clones:
        clone.stack("down")


def clone_into(folder: Path, umask: int) -> None:
    """Copy this working tree under a umask, and install its packages from the cache."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    files = [Path(name) for name in names.split("\0") if name and (CHECKOUT / name).is_file()]
    previous_umask = os.umask(umask)
    try:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, folder / name)
            (folder / name).chmod((0o777 if (CHECKOUT / name).stat().st_mode & stat.S_IXUSR else 0o666) & ~umask)
    finally:
        os.umask(previous_umask)
    completed = subprocess.run(
        ["make", "setup", f"PYTHON={sys.executable}"],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(cache_folder().parent)},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr


def a_temporary_folder(private_folder: Path) -> Path:
    """Make a folder with a long name, which only its owner can enter, as in root's home."""
    private_folder.chmod(0o700)
    temporary = private_folder / f"T, {LONG_NAME}=1" / LONG_NAME
    temporary.mkdir(parents=True)
    return temporary


def give_to(user: pwd.struct_passwd, *folders: Path) -> None:
    """Make a user the owner of folders and of their content, and let every user enter them.

    Files with several links stay: uv links them to its cache and to other environments.
    """
    owned = ("(", "-type", "d", "-o", "-links", "1", ")", "-exec", "chown", "-h", f"{user.pw_uid}:{user.pw_gid}")
    subprocess.run(["find", *folders, *owned, "{}", "+"], check=True)
    for folder in folders:
        folder.chmod(0o755)


async def assert_servers_respond(clone: Clone) -> None:
    """Query each server of the stack."""
    exported = clone.exported()
    async with await psycopg.AsyncConnection.connect(exported["DATABASE_URL"]) as connection:
        await connection.execute("select from metrics_raw")
    async with redis.asyncio.from_url(exported["REDIS_URL"]) as client:
        assert await client.ping()
    if "KUBECONFIG" in exported:
        assert list_policies(exported) == (0, "No resources found")


def list_policies(exported: Mapping[str, str]) -> tuple[int, str]:
    """List the policies with kubectl; return its exit code and its messages."""
    command = ["kubectl", "--kubeconfig", exported["KUBECONFIG"], "get", "scalingpolicies", "-A"]
    environment = {**os.environ, "PATH": exported["PATH"]}
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return completed.returncode, completed.stderr.strip()


async def test_the_stack_runs_from_a_long_private_path_with_spaces(
    private_folder: Path, checkout: Path, clones: list[Clone]
) -> None:
    temporary = a_temporary_folder(private_folder)
    environment = {**os.environ, "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(cache_folder().parent)}
    clone = Clone(checkout, environment, umask=0o077)
    clones.append(clone)
    up = clone.stack("up", "--detach")
    assert up.returncode == 0, up.stderr
    await assert_servers_respond(clone)
    down = clone.stack("down")
    assert down.returncode == 0, down.stderr
    assert list(temporary.iterdir()) == []


async def test_a_user_without_root_needs_no_writable_home(
    private_folder: Path, checkout: Path, open_folder: Path, clones: list[Clone]
) -> None:
    workspace, cache, home = open_folder / "workspace", open_folder / "cache", open_folder / "home"
    for folder in (workspace, cache / "predictive-scaling", home):
        folder.mkdir(parents=True)
    for name in ("kafka", "java"):
        if (cache_folder() / name).is_dir():
            (cache / "predictive-scaling" / name).symlink_to(cache_folder() / name)
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(cache), "TMPDIR": str(workspace)}
    run_as: Sequence[str] = ()
    if os.geteuid() == 0:
        # The user may not be able to read this Python; the capability permits reading, and no writing.
        user = pwd.getpwnam("nobody")
        give_to(user, private_folder, workspace, cache)
        identity = ("--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups")
        run_as = ("setpriv", *identity, *_READ_CAPABILITY, "--")
    home.chmod(0o555)
    clone = Clone(checkout, environment, run_as)
    clones.append(clone)
    parts = [text for part in ("postgresql", "redis", "aws", "kafka") for text in ("--only", part)]
    up = clone.stack("up", "--detach", *parts)
    assert up.returncode == 0, up.stderr
    await assert_servers_respond(clone)
    assert list(home.iterdir()) == []


def test_a_temporary_folder_is_not_used_if_the_server_user_cannot_enter_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_user = ServerUser(uid=65_533, gid=65_533)
    closed, opened = tmp_path / "closed", Path("/tmp")  # noqa: S108 (only checked)
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    assert temporary_base(None) == closed
    assert temporary_base(other_user, [tmp_path / "missing", closed, opened]) == opened


@pytest.mark.parametrize(("mode", "is_allowed"), [(0o700, False), (0o750, False), (0o711, True), (0o755, True)])
def test_access_to_a_folder_depends_on_all_its_parents(mode: int, is_allowed: bool, open_folder: Path) -> None:
    other_user, owner = ServerUser(65_533, 65_533), ServerUser(os.geteuid(), os.getegid())
    (open_folder / "above" / "below").mkdir(parents=True, mode=0o755)
    (open_folder / "above").chmod(mode)
    assert other_user.can_enter(open_folder / "above" / "below") == is_allowed
    assert owner.can_enter(open_folder / "above" / "below")
    assert not other_user.can_enter(open_folder / "missing")
