"""Runs a Dockerfile's steps below a folder, where there is no container engine.

Absolute paths that the file names are moved below that folder. What changes the machine itself is asked for as a
simulation (apt-get) or below the folder (useradd), so that nothing outside it is touched.
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
    """A stage's file system and what its instructions set."""

    root: Path
    source: Path
    workdir: str = "/"
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def path(self, name: str) -> Path:
        return self.root / str(Path(self.workdir) / name).lstrip("/")

    def moved(self, text: str) -> str:
        return OWN_PATHS.sub(lambda match: f"{self.root}/{match.group(1)}", text)


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """(instruction, its text), continuation lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        yield word, rest.strip()


def build(dockerfile: Path, folder: Path) -> Stage:
    """Run every step; the last stage is what the image would hold. A failing step raises CalledProcessError."""
    stages: dict[str, Stage] = {}
    stage = Stage(folder / "none", dockerfile.parent)
    for word, rest in instructions(dockerfile):
        match word:
            case "FROM":
                name = rest.split(" AS ")[1] if " AS " in rest else "final"
                # All stages share one root: a virtual environment holds its own path and is copied as it is.
                stage = stages[name] = Stage(folder / "root", dockerfile.parent)
                stage.root.mkdir(exist_ok=True)
            case "WORKDIR":
                stage.workdir = rest
                stage.path(".").mkdir(parents=True, exist_ok=True)
            case "ENV":
                pairs = (pair.split("=", 1) for pair in rest.split())
                stage.environment |= {key: stage.moved(value) for key, value in pairs}
            case "COPY":
                _copy(stage, rest)
            case "RUN":
                _run(stage, rest)
            case "USER" | "EXPOSE" | "ENTRYPOINT" | "CMD":
                pass
            case _:
                raise AssertionError(f"{word} is not understood by this test; teach it")
    return stage


def environment(stage: Stage) -> dict[str, str]:
    """What a process of the image would see, PATH expanded."""
    ours = dict(stage.environment)
    ours["PATH"] = ours.get("PATH", "$PATH").replace("$PATH", os.environ["PATH"])
    return {key: os.environ[key] for key in ("HOME", "PIP_CERT", "SSL_CERT_FILE") if key in os.environ} | ours


def _copy(stage: Stage, rest: str) -> None:
    if rest.startswith("--from="):
        return  # stages share a root
    *sources, destination = rest.split()
    target = stage.path(destination)
    for name in sources:
        source = stage.source / name
        into = target / source.name if destination.endswith("/") else target
        into.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, into)


def _run(stage: Stage, command: str) -> None:
    for step in command.split(" && "):
        subprocess.run(
            ["bash", "-euc", _harmless(stage, step)],
            cwd=stage.path("."),
            env=os.environ | {"UV_PYTHON": sys.executable, "VIRTUAL_ENV": ""},
            check=True,
            timeout=600,
        )


def _harmless(stage: Stage, step: str) -> str:
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
    return f"export PATH={stage.root}/pip/bin:$PATH; {stage.moved(step)}"
