"""The stack runs from wherever somebody clones to, as whoever that is."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
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
LONG = "a-name-of-60-characters-so-that-no-unix-socket-fits-below-it"
"""Twice of it is more than the 107 bytes that the path of a unix socket may have."""
_READS_EVERYTHING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


@dataclass(frozen=True)
class Clone:
    """A checkout with an environment of its own. run_as: what stands before each command."""

    folder: Path
    environment: Mapping[str, str]
    run_as: Sequence[str] = ()
    umask: int = 0o022
    started: list[Path] = field(default_factory=list[Path])

    def stack(self, command: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """`predictive-scaling stack`, as its script in the environment runs it."""
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
        """What a shell has after it sourced the stack's file."""
        printed = subprocess.run(
            ["bash", "-c", ". build/stack/env; env"], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return dict(line.split("=", 1) for line in printed.stdout.splitlines() if "=" in line)


@pytest.fixture
def clones() -> Iterator[list[Clone]]:
    """To be ended."""
    clones: list[Clone] = []
    yield clones
    for clone in clones:
        clone.stack("down")


def a_clone(folder: Path, environment: Mapping[str, str], umask: int = 0o022) -> Clone:
    """This working tree, with packages from the cache, under a umask."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    everything = [Path(name) for name in names.split("\0") if name and (CHECKOUT / name).is_file()]
    old = os.umask(umask)
    try:
        for name in everything:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / name, folder / name)
            (folder / name).chmod((0o777 if (CHECKOUT / name).stat().st_mode & stat.S_IXUSR else 0o666) & ~umask)
    finally:
        os.umask(old)
    completed = subprocess.run(
        ["make", "setup", f"PYTHON={sys.executable}"],
        cwd=folder,
        env=dict(environment),
        umask=umask,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return Clone(folder, environment, umask=umask)


async def answers(clone: Clone) -> None:
    """Each part does what it is for."""
    exported = clone.exported()
    async with await psycopg.AsyncConnection.connect(exported["DATABASE_URL"]) as connection:
        await connection.execute("select from metrics_raw")
    async with redis.asyncio.from_url(exported["REDIS_URL"]) as client:
        assert await client.ping()
    if "KUBECONFIG" in exported:
        assert listed(exported) == (0, "No resources found")


def listed(exported: Mapping[str, str]) -> tuple[int, str]:
    """What kubectl says of policies."""
    words = ["kubectl", "--kubeconfig", exported["KUBECONFIG"], "get", "scalingpolicies", "-A"]
    environment = {**os.environ, "PATH": exported["PATH"]}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


async def test_everything_runs_from_a_long_path_with_blanks_that_only_its_owner_may_enter(
    tmp_path: Path, clones: list[Clone]
) -> None:
    # As root's home; pytest's own folders are of mode 700 too.
    home = tmp_path / "only mine"
    home.mkdir(mode=0o700)
    temporary = home / f"T, {LONG}=1" / LONG
    temporary.mkdir(parents=True)
    environment = {**os.environ, "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(cache_folder().parent)}
    clone = a_clone(home / LONG / LONG / "our checkout", environment, umask=0o077)
    clones.append(clone)
    up = clone.stack("up", "--detach")
    assert up.returncode == 0, up.stderr
    await answers(clone)
    down = clone.stack("down")
    assert down.returncode == 0, down.stderr
    assert list(temporary.iterdir()) == []


async def test_a_user_without_root_needs_no_home_that_can_be_written(open_folder: Path, clones: list[Clone]) -> None:
    place, cache, home = open_folder / "place", open_folder / "cache", open_folder / "home"
    for folder in (place, cache / "predictive-scaling", home):
        folder.mkdir(parents=True)
    for name in ("kafka", "java"):
        if (cache_folder() / name).is_dir():
            (cache / "predictive-scaling" / name).symlink_to(cache_folder() / name)
    clone = a_clone(place / "checkout", {**os.environ, "XDG_CACHE_HOME": str(cache_folder().parent)})
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(cache), "TMPDIR": str(place)}
    run_as: Sequence[str] = ()
    if os.geteuid() == 0:
        # This very Python may lie where the user cannot read; the capability lets it, and lets it write nowhere.
        user = pwd.getpwnam("nobody")
        for path in (place, *place.rglob("*"), cache, cache / "predictive-scaling"):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)
        identity = ("--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups")
        run_as = ("setpriv", *identity, *_READS_EVERYTHING, "--")
    home.chmod(0o555)
    clone = Clone(clone.folder, environment, run_as)
    clones.append(clone)
    parts = [text for part in ("postgresql", "redis", "aws", "kafka") for text in ("--only", part)]
    up = clone.stack("up", "--detach", *parts)
    assert up.returncode == 0, up.stderr
    await answers(clone)
    assert list(home.iterdir()) == []


def test_a_temporary_folder_that_the_servers_user_cannot_enter_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = ServerUser(uid=65_533, gid=65_533)
    closed, opened = tmp_path / "closed", Path("/tmp")  # noqa: S108 (only asked about)
    closed.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(closed))
    assert temporary_base(None) == closed
    assert temporary_base(stranger, [tmp_path / "missing", closed, opened]) == opened


@pytest.mark.parametrize(("mode", "enters"), [(0o700, False), (0o750, False), (0o711, True), (0o755, True)])
def test_who_may_enter_a_folder_goes_by_every_folder_above_it(mode: int, enters: bool, open_folder: Path) -> None:
    stranger, owner = ServerUser(65_533, 65_533), ServerUser(os.geteuid(), os.getegid())
    (open_folder / "above" / "below").mkdir(parents=True, mode=0o755)
    (open_folder / "above").chmod(mode)
    assert stranger.can_enter(open_folder / "above" / "below") == enters
    assert owner.can_enter(open_folder / "above" / "below")
    assert not stranger.can_enter(open_folder / "missing")
