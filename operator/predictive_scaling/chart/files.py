"""The generated files of the chart: the schema of its values, copies of repository files, and its rights."""

from pathlib import Path

from predictive_scaling.chart.rights_files import cluster_role_file, document
from predictive_scaling.chart.schema import values_schema
from predictive_scaling.resources import crd

CHART = Path("charts") / "predictive-scaling"
"""Relative to the repository, as all paths of this module."""
_COPIES = {
    "files/activation.yaml": "config/tenancy/activation.yaml",
    "files/alerts.yml": "config/alerts.yml",
    "files/dashboards/operations.json": "config/grafana/dashboards/operations.json",
    "files/dashboards/scaling.json": "config/grafana/dashboards/scaling.json",
    "files/kube-state-metrics.yaml": "config/kube-state-metrics.yaml",
    "files/lower-maximum.yaml": "config/admission/horizontalpodautoscalers.yaml",
}
"""A chart can only read its own files: path in the chart, and path in the repository."""


def generated(repository: Path) -> dict[Path, str]:
    """Return the content of each generated file."""
    definitions = {CHART / "files" / "crds" / name: text for name, text in crd.files().items()}
    copies = {CHART / path: (repository / source).read_text("utf-8") for path, source in _COPIES.items()}
    rights = {Path("config/cluster-role.yaml"): cluster_role_file(), Path("docs/rbac.md"): document()}
    return {CHART / "values.schema.json": values_schema(), **definitions, **copies, **rights}


def write(repository: Path) -> list[Path]:
    """Write the files and return their paths; a file of the chart's `files/` that is no longer generated is deleted."""
    for path in differing(repository):
        path.unlink(missing_ok=True)
    written: list[Path] = []
    for name, text in generated(repository).items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        written.append(path)
    return written


def differing(repository: Path) -> list[Path]:
    """Return the paths that are missing, differ from the generated text, or are not generated."""
    expected = {repository / name: text for name, text in generated(repository).items()}
    actual = {path for path in (repository / CHART).glob("files/**/*") if path.is_file()}
    return sorted(
        path
        for path in {*expected, *actual}
        if path not in expected or not path.is_file() or path.read_text("utf-8") != expected[path]
    )
