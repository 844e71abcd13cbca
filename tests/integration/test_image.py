"""The build steps of the image, run without a container engine, and the content of the image."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import dockerfile

ROOT = Path(__file__).parents[2]
RUNBOOK = """
import json, predictive_scaling, src.storage.database, src.features
import predictive_scaling.storage.database as database, predictive_scaling.features as features
from src.storage.database import engine
from src.features import FeatureStore
print(json.dumps({
    "package": predictive_scaling.__file__,
    "engine": engine is database.engine,
    "features": FeatureStore is features.FeatureStore,
}))
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> dockerfile.Stage:
    return dockerfile.build(ROOT / "Dockerfile", tmp_path_factory.mktemp("image"))


def run(image: dockerfile.Stage, *command: str) -> str:
    completed = subprocess.run(
        command,
        cwd=image.path("."),
        env=dockerfile.environment(image),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return completed.stdout


def test_the_program_runs_in_the_image(image: dockerfile.Stage) -> None:
    program = str(image.root / "opt/venv/bin/predictive-scaling")
    assert run(image, program, "--version").strip()
    assert "PREDICTIVE_SCALING_TICK" in run(image, program, "settings")


def test_the_runbooks_import_paths_return_the_objects_of_the_package(image: dockerfile.Stage) -> None:
    identities = json.loads(run(image, str(image.root / "opt/venv/bin/python"), "-c", RUNBOOK))
    assert identities["engine"]
    assert identities["features"]
    assert "/opt/venv/" in identities["package"]


def test_the_image_contains_no_source_tree(image: dockerfile.Stage) -> None:
    assert sorted(path.name for path in image.path(".").iterdir()) == ["config", "models", "src"]
