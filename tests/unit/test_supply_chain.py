"""The image, the locks, the workflows and the dependency updates hold what SECURITY.md says of them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dockerfile import instructions

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
JOBS = [(name, job) for name, workflow in sorted(WORKFLOWS.items()) for job in workflow["jobs"]]
SECURITY = (ROOT / "SECURITY.md").read_text()
BOUNDARIES = re.findall(r"^\| ([A-Z][^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", SECURITY, re.MULTILINE)
LOCKS = sorted(ROOT.glob("requirements*.lock"))


def job_of(workflow: str, name: str) -> dict[str, Any]:
    return WORKFLOWS[workflow]["jobs"][name]


@pytest.mark.parametrize("row", BOUNDARIES, ids=[row[0] for row in BOUNDARIES])
def test_each_trust_boundary_names_tests_that_exist(row: tuple[str, str, str, str]) -> None:
    tests = re.findall(r"`([^`]+\.py)::(\w+)`", row[3])
    assert len(tests) == row[3].count("::") > 0
    for file, name in tests:
        assert re.search(rf"def {name}\(", (ROOT / "tests" / file).read_text()), f"{file} has no {name}"


def test_the_threat_model_has_its_boundaries() -> None:
    assert len(BOUNDARIES) == SECURITY.count(" → ")
    assert "private vulnerability reporting" in SECURITY


@pytest.mark.parametrize(("workflow", "name"), JOBS)
def test_a_job_uses_actions_by_commit_and_puts_no_expression_into_a_script(workflow: str, name: str) -> None:
    job = job_of(workflow, name)
    assert 0 < job["timeout-minutes"] <= 120
    lines = (ROOT / ".github" / "workflows" / workflow).read_text().splitlines()
    for step in job["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
            # The comment is the version, which updates read and change.
            assert any(re.search(rf"{step['uses']} # v\d+\.\d+\.\d+$", line) for line in lines)
        else:
            # A branch or a tag may be named like a command; an expression in `env` is data.
            assert "${{" not in step["run"]
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_may_read_only_and_only_a_release_may_sign(workflow: str) -> None:
    assert WORKFLOWS[workflow]["permissions"] == {"contents": "read"}
    signing = {name for file, name in JOBS if file == workflow and "permissions" in job_of(workflow, name)}
    assert signing == ({"image", "chart"} if workflow == "release.yml" else set())
    for name in signing:
        assert job_of(workflow, name)["permissions"] == {"contents": "read", "id-token": "write"}
        assert "cosign sign --yes" in str(job_of(workflow, name)["steps"])


@pytest.mark.parametrize(("workflow", "name"), JOBS)
def test_a_job_runs_targets_and_files_that_exist(workflow: str, name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for step in job_of(workflow, name)["steps"]:
        script = step.get("run", "")
        assert set(re.findall(r"\bmake ([a-z-]+)", script)) <= targets
        for path in re.findall(r"(?:^|\s)(\.ci/\w+|charts/[\w./-]+|Dockerfile)", script):
            assert (ROOT / path).exists(), path


def test_the_pipeline_builds_the_image_and_releases_chart_and_image() -> None:
    assert job_of("check.yml", "check")["steps"][-1]["run"] == ".ci/run"
    assert job_of("check.yml", "image")["steps"][-1]["run"] == "make image"
    assert job_of("release.yml", "chart")["needs"] == "image"
    assert "helm push" in str(job_of("release.yml", "chart")["steps"])


def test_the_linter_refuses_a_workflow_with_an_unknown_key(tmp_path: Path) -> None:
    workflow = tmp_path / "check.yml"
    workflow.write_text((ROOT / ".github" / "workflows" / "check.yml").read_text().replace("runs-on", "run-on", 1))
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [program, "--builtin-schema", "vendor.github-workflows", workflow]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "run-on" in result.stdout


def test_dependency_updates_cover_every_kind_of_file_and_the_compiled_locks() -> None:
    configuration = json.loads((ROOT / "renovate.json").read_text())
    assert {"gomod", "maven", "dockerfile", "github-actions", "pip-compile"} <= set(configuration["enabledManagers"])
    (pattern,) = configuration["pip-compile"]["managerFilePatterns"]
    matched = [lock.name for lock in LOCKS if re.search(pattern.strip("/"), lock.name)]
    assert matched == ["requirements-bench.lock", "requirements-image.lock", "requirements.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_of_a_lock_has_a_version_and_hashes(lock: Path) -> None:
    packages = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert len(packages) > 30
    for package in packages:
        assert re.match(r"[a-z0-9-]+(\[[\w,-]+\])?==\S+", package), package[:80]
        assert "--hash=sha256:" in package, package[:80]


def test_the_packages_of_the_image_have_the_versions_that_are_tested() -> None:
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9-]+(?:\[[\w,-]+\])?==[^\s;]+", (ROOT / name).read_text(), re.MULTILINE))

    assert versions("requirements-image.lock") <= versions("requirements.lock")


def test_both_stages_of_the_image_have_the_same_base_which_a_release_can_pin() -> None:
    steps = list(instructions(ROOT / "Dockerfile"))
    assert [arguments for instruction, arguments in steps if instruction == "FROM"] == [
        "${PYTHON_IMAGE} AS build",
        "${PYTHON_IMAGE}",
    ]
    assert steps[0] == ("ARG", "PYTHON_IMAGE=python:3.12-slim-bookworm")
    assert "--build-arg PYTHON_IMAGE=" in str(job_of("release.yml", "image")["steps"])


def test_the_image_installs_by_hash_and_runs_without_root_and_without_build_tools() -> None:
    steps = list(instructions(ROOT / "Dockerfile"))
    final = steps[max(at for at, step in enumerate(steps) if step[0] == "FROM") :]
    assert not [arguments for instruction, arguments in final if instruction == "RUN" and " pip " in f" {arguments} "]
    assert dict(final)["USER"] == "65532"
    installing = [arguments for instruction, arguments in steps if instruction == "RUN" and "uv " in arguments]
    version = re.search(r"^UV_VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert version is not None
    assert f"uv=={version[1]}" in str(steps)
    assert all("--require-hashes" in arguments for arguments in installing)


def test_the_image_gets_no_file_that_its_steps_do_not_copy() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.split("/")[0]
        for instruction, arguments in instructions(ROOT / "Dockerfile")
        if instruction == "COPY" and not arguments.startswith("--from=")
        for source in arguments.split()[:-1]
    }
    assert admitted == copied
