"""The generated files of the Helm chart, and the models of its values."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from typer.testing import CliRunner

from predictive_scaling import __version__
from predictive_scaling.chart import files
from predictive_scaling.chart.schema import SET_BY_THE_CHART, setting_schemas
from predictive_scaling.chart.values import DURATION_PATTERN, Values
from predictive_scaling.commands.chart import app
from predictive_scaling.resources import crd
from predictive_scaling.resources.kinds import KINDS
from predictive_scaling.resources.metadata import GROUP, VERSION
from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.settings import Settings
from tests.support.helm import CHART
from tests.support.schemas import violations

ROOT = CHART.parents[1]


def values() -> dict[str, Any]:
    return yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_committed_files_are_the_generated_ones() -> None:
    assert files.differing(ROOT) == [], "run `make chart` and commit the result"


def test_the_definitions_of_the_chart_are_the_files_of_crds() -> None:
    for name in crd.files():
        assert (CHART / "files" / "crds" / name).read_bytes() == (ROOT / "crds" / name).read_bytes()


def test_an_outdated_a_missing_and_a_foreign_file_are_named_and_mended(tmp_path: Path) -> None:
    for folder in ("charts", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    chart = tmp_path / "charts" / "predictive-scaling"
    (chart / "values.schema.json").write_text("{}")
    (chart / "files" / "alerts.yml").unlink()
    (chart / "files" / "crds" / "old.yaml").write_text("kind: Old")
    role = tmp_path / "config" / "cluster-role.yaml"
    role.write_text(role.read_text().replace("verbs: [get, list, watch, patch]", "verbs: ['*']", 1))
    check = CliRunner().invoke(app, ["--check", "--repository", str(tmp_path)])
    assert check.exit_code == 1
    assert re.findall(r"(\S+) is outdated; run `make chart`", check.output) == [
        *(str(chart / name) for name in ("files/alerts.yml", "files/crds/old.yaml", "values.schema.json")),
        str(role),
        str(tmp_path / "docs" / "rbac.md"),
    ]
    files.write(tmp_path)
    assert files.differing(tmp_path) == []


def test_a_folder_without_the_chart_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--repository", str(tmp_path)])
    assert "is not a chart; run the command in a checkout" in str(result.exception)


def test_the_default_values_are_complete() -> None:
    Values.model_validate({name: value for name, value in values().items() if name != "settings"})
    assert values()["settings"] == {}
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Values.model_validate({"operater": {}})


def test_every_setting_is_a_value_or_follows_from_one() -> None:
    assert setting_schemas().keys() | SET_BY_THE_CHART == Settings.model_fields.keys()
    assert not setting_schemas().keys() & SET_BY_THE_CHART
    properties = json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    assert properties.keys() == {to_camel(name) for name in setting_schemas()}
    assert all(setting["description"] for setting in properties.values())


@pytest.mark.parametrize("name", sorted(setting_schemas()))
def test_the_schema_of_a_setting_admits_its_default(name: str) -> None:
    schema, default = setting_schemas()[name], Settings.model_fields[name].default
    if schema.get("pattern") == DURATION_PATTERN:
        assert re.search(schema["pattern"], format_duration(default))
    assert schema["type"] in ("string", "integer", "number", "boolean", "object", "array")


def test_every_row_of_the_readme_has_a_description() -> None:
    rows = re.findall(r"^\| (\S+) \| (\w+) \| (.*) \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 60
    assert [row[0] for row in rows if not row[3].strip()] == []


def test_the_metadata_of_the_chart_names_this_version_and_all_kinds_with_valid_examples() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    kinds = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    assert {(entry["kind"], entry["name"], entry["version"]) for entry in kinds} == {
        (kind.name, f"{kind.plural}.{GROUP}", VERSION) for kind in KINDS
    }
    examples = yaml.safe_load(chart["annotations"]["artifacthub.io/crdsExamples"])
    assert len(examples) == 2
    assert [violations(example["kind"], example) for example in examples] == [[], []]
