"""Finds installed programs in a usable version, and installed Python packages with programs."""

import asyncio
import importlib.util
import os
import re
import shutil
from pathlib import Path

from predictive_scaling.errors import StackError
from predictive_scaling.stack.binary import ACCEPTED, Binary, Version
from predictive_scaling.stack.processes import run
from predictive_scaling.stack.progress import Notify

_TIMEOUT_SECONDS = 10.0
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")


async def in_assets(binary: Binary, notify: Notify) -> Path | None:
    """Return the program in the folder of KUBEBUILDER_ASSETS, the variable of envtest's tools.

    None if the variable is not set, the folder lacks the program, or its version is unusable (reported). Raises
    StackError if the variable does not name a folder.
    """
    program = _asset(binary.value)
    return None if program is None else await _if_usable(binary, program, notify)


async def on_path(binary: Binary, notify: Notify) -> Path | None:
    """Return the program on the PATH; None if there is none or its version is unusable (reported)."""
    program = _on_path(binary.value)
    return None if program is None else await _if_usable(binary, program, notify)


def _asset(name: str) -> Path | None:
    value = os.environ.get("KUBEBUILDER_ASSETS")
    if not value:
        return None
    folder = Path(value).resolve()
    if not folder.is_dir():
        raise StackError(f"KUBEBUILDER_ASSETS is {value}, which is not a folder; correct it or unset it")
    program = folder / name
    return program if program.is_file() and os.access(program, os.X_OK) else None


def _on_path(name: str) -> Path | None:
    path = shutil.which(name)
    # Not resolved: the behavior of a program may depend on the name by which it is called.
    return None if path is None else Path(path).absolute()


async def _if_usable(binary: Binary, program: Path, notify: Notify) -> Path | None:
    accepted = ACCEPTED[binary]
    version = await _version(program, accepted.arguments)
    if version is not None and accepted.accepts(version):
        return program
    problem = "does not print its version" if version is None else f"is version {version[0]}.{version[1]}"
    notify(f"not used: {program} {problem}; {accepted} is required")
    return None


async def _version(program: Path, arguments: tuple[str, ...]) -> Version | None:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            printed = await run(program, *arguments, purpose=f"getting the version of {program}")
    except (StackError, OSError, TimeoutError):
        return None
    version = _VERSION.search(printed)
    return None if version is None else (int(version[1]), int(version[2]))


def package_folder(package: str, part: str) -> Path:
    """Return the folder of an installed package. Raises StackError with the extra if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"{part} needs the Python package {package}; run: pip install 'predictive-scaling[stack]'")
    return Path(spec.submodule_search_locations[0])
