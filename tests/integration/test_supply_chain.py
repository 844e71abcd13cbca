"""`make sbom` and `make audit` as users run them, and the workflows by the rules of actionlint."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from predictive_scaling.errors import StackError
from predictive_scaling.stack.processes import run
from tests.support.go_programs import ACTIONLINT

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"


def make(*arguments: str) -> str:
    completed = subprocess.run(["make", *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=280)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout + completed.stderr


def test_the_bill_of_materials_is_valid_reproducible_and_has_the_packages_of_the_image() -> None:
    make("sbom")
    path = ROOT / "build" / "sbom.json"
    text = path.read_text()
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "predictive-scaling"
    components = {(component["name"], component["version"]) for component in document["components"]}
    lock = (ROOT / "requirements-image.lock").read_text()
    locked = re.findall(r"^([a-z0-9-]+)(?:\[[\w,-]+\])?==([^\s;]+)", lock, re.MULTILINE)
    assert components == set(locked)
    assert all(component["externalReferences"][0]["hashes"] for component in document["components"])
    validation = (
        "import sys, cyclonedx.schema as s, cyclonedx.validation.json as v; "
        "sys.exit(str(v.JsonStrictValidator(s.SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()) or '') or 0)"
    )
    subprocess.run([ROOT / "build/supply-chain/bin/python", "-c", validation, path], check=True, timeout=120)
    make("sbom", "SBOM_OPTIONS=--no-validate")
    assert path.read_text() == text


def test_the_audit_reads_every_lock() -> None:
    assert re.search(r"would have audited [1-9]\d{2} packages", make("audit", "AUDIT_OPTIONS=--dry-run"))


async def actionlint(*workflows: Path) -> None:
    """Check workflows. Raises StackError with what is wrong."""
    program = await ACTIONLINT.folder() / "actionlint"
    # Other linters are not called, whether or not they are installed.
    await run(program, "-no-color", "-shellcheck=", "-pyflakes=", *workflows, purpose="actionlint")


async def test_actionlint_accepts_the_workflows() -> None:
    await actionlint(*WORKFLOWS.glob("*.yml"))


async def test_actionlint_refuses_the_output_of_a_step_that_does_not_exist(tmp_path: Path) -> None:
    workflow = tmp_path / "release.yml"
    text = (WORKFLOWS / "release.yml").read_text()
    workflow.write_text(text.replace("steps.push.outputs", "steps.pushed.outputs", 1))
    with pytest.raises(StackError, match='property "pushed" is not defined'):
        await actionlint(workflow)
