"""The layers contract of import-linter names every package, so that it covers new packages."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_and_module_has_a_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    layered = {name.strip().removeprefix("predictive_scaling.") for layer in layers for name in layer.split("|")}
    package = ROOT / "operator" / "predictive_scaling"
    modules = {path.stem for path in package.glob("*.py") if path.name != "__init__.py"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    assert layered == modules | packages | {"src", "forecasting"}
