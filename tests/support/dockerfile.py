"""Runs a Dockerfile's steps below a folder, where there is no container engine.

Absolute paths in the file are relocated to that folder. Steps that change the machine are simulated (apt-get) or
skipped (useradd), so that nothing outside the folder changes.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

OWN_PATHS = re.compile(r"(?<![\w.:-])/(opt|app|build|var/log|var/lib)(?=[/\s:]|$)")


@dataclass
class Stage:
    """The file system of a stage, and the state that its instructions set."""

    root: Path
    source: Path
    workdir: str = "/"
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def path(self, name: str) -> Path:
        return self.root / str(Path(self.workdir) / name).lstrip("/")

    def relocated(self, text: str) -> str:
        return OWN_PATHS.sub(lambda match: f"{self.root}/{match.group(1)}", text)


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """Yield (instruction, arguments); continuation lines are joined, comments removed."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, arguments = line.partition(" ")
        yield instruction, arguments.strip()


def build(dockerfile: Path, folder: Path) -> Stage:
    """Run every step and return the last stage, the content of the image.

    Raises CalledProcessError for a step that fails.
    """
    stages: dict[str, Stage] = {}
    stage = Stage(folder / "none", dockerfile.parent)
    for instruction, arguments in instructions(dockerfile):
        match instruction:
            case "FROM":
                name = arguments.split(" AS ")[1] if " AS " in arguments else "final"
                # All stages share one root: a virtual environment holds its own path and is copied as it is.
                stage = stages[name] = Stage(folder / "root", dockerfile.parent)
                stage.root.mkdir(exist_ok=True)
            case "WORKDIR":
                stage.workdir = arguments
                stage.path(".").mkdir(parents=True, exist_ok=True)
            case "ENV":
                pairs = (pair.split("=", 1) for pair in arguments.split())
                stage.environment |= {key: stage.relocated(value) for key, value in pairs}
            case "COPY":
                _copy(stage, arguments)
            case "RUN":
                _run(stage, arguments)
            case "ARG" | "USER" | "EXPOSE" | "ENTRYPOINT" | "CMD":
                pass
            case _:
                raise AssertionError(f"{instruction} is not supported by this test; add it")
    return stage


def environment(stage: Stage) -> dict[str, str]:
    """Return the environment of a process in the image, with PATH expanded."""
    own = dict(stage.environment)
    own["PATH"] = own.get("PATH", "$PATH").replace("$PATH", os.environ["PATH"])
    return {key: os.environ[key] for key in ("HOME", "PIP_CERT", "SSL_CERT_FILE") if key in os.environ} | own


def _copy(stage: Stage, arguments: str) -> None:
    if arguments.startswith("--from="):
        return  # stages share a root
    *sources, destination = arguments.split()
    target = stage.path(destination)
    for name in sources:
        source = stage.source / name
        copy = target / source.name if destination.endswith("/") else target
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)


def _run(stage: Stage, command: str) -> None:
    for step in command.split(" && "):
        subprocess.run(
            ["bash", "-euc", _without_side_effects(stage, step)],
            cwd=stage.path("."),
            env=os.environ | {"UV_PYTHON": sys.executable, "VIRTUAL_ENV": ""},
            check=True,
            timeout=600,
        )


def _without_side_effects(stage: Stage, step: str) -> str:
    if step.startswith("apt-get install"):
        return step.replace("apt-get install", "apt-get install --simulate") if shutil.which("apt-get") else "true"
    if step.startswith(("apt-get update", "rm -rf /var/lib/apt")):
        return "true"
    if step.startswith("pip install"):
        return f"{sys.executable} -m venv {stage.root}/pip && {stage.root}/pip/bin/{step}"
    if step.startswith("useradd"):
        return "useradd --help >/dev/null"
    if step.startswith("chown app"):
        return "true"
    return f"export PATH={stage.root}/pip/bin:$PATH; {stage.relocated(step)}"
