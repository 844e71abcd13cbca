"""The image's steps, run without a container engine, and what it then holds: the wheel, away from the checkout."""

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
    done = subprocess.run(
        command,
        cwd=image.path("."),
        env=dockerfile.environment(image),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout


def test_the_program_runs_in_the_image(image: dockerfile.Stage) -> None:
    program = str(image.root / "opt/venv/bin/predictive-scaling")
    assert run(image, program, "--version").strip()
    assert "PREDICTIVE_SCALING_TICK" in run(image, program, "settings")


def test_the_runbooks_import_paths_are_the_very_objects_of_the_package(image: dockerfile.Stage) -> None:
    answer = json.loads(run(image, str(image.root / "opt/venv/bin/python"), "-c", RUNBOOK))
    assert answer["engine"]
    assert answer["features"]
    assert "/opt/venv/" in answer["package"]


def test_the_source_tree_does_not_stand_beside_the_wheel(image: dockerfile.Stage) -> None:
    assert sorted(path.name for path in image.path(".").iterdir()) == ["config", "models", "src"]
