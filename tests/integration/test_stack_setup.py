"""The checks of `make` before an installation, its targets, and the lock files."""

import os
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
CHECK = CHECKOUT / ".ci" / "python"
REMEDY = "apt-get install python3 python3-venv"


def test_the_python_of_these_tests_is_accepted() -> None:
    assert _check(".venv/bin/python").returncode == 0


def test_a_missing_python_is_an_error_with_the_remedy() -> None:
    result = _check("python3.99")
    assert (result.returncode, "python3.99 was not found" in result.stderr, REMEDY in result.stderr) == (1, True, True)


def test_an_old_python_is_an_error_with_its_version_and_the_remedy(tmp_path: Path) -> None:
    old = _program(tmp_path / "python3", "case $1 in -V) echo Python 3.9.2;; *) exit 1;; esac")
    result = _check(str(old))
    assert result.returncode == 1
    assert "is Python 3.9.2; Python 3.11 to 3.14 is needed" in result.stderr
    assert REMEDY in result.stderr


def test_a_python_without_venv_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    bare = _program(tmp_path / "python3", "case $2 in *venv*) exit 1;; esac")
    result = _check(str(bare), "venv")
    assert result.returncode == 1
    assert "has no module venv" in result.stderr
    assert REMEDY in result.stderr


def test_help_lists_every_documented_target() -> None:
    output = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    documented = [
        "demo",
        "test",
        "lint",
        "bench",
        "generate-data",
        "train-models",
        "demo-check",
        "crds",
        "chart",
        "stack-up",
        "stack-down",
        "image",
    ]
    assert set(documented) <= set(re.findall(r"make (\S+)", output))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-image.lock"])
def test_a_lock_file_has_a_hash_for_every_package_and_no_host_or_path(lock: str) -> None:
    text = (CHECKOUT / lock).read_text()
    assert not re.search(r"https?://|file:|(?<![\w.-])/\w|--index-url|--find-links", text)
    packages = re.findall(r"^[\w.-]+==\S+.*\\$", text, re.MULTILINE)
    assert len(packages) == len(re.findall(r"^[\w.-]+(?:==| @)", text, re.MULTILINE)) > 30


def _check(python: str, *modules: str) -> "subprocess.CompletedProcess[str]":
    command = [str(CHECK), python, *modules]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env=dict(os.environ), check=False)


def _program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path
