"""The generated CRDs: bounded structural schemas, and files that are up to date."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from predictive_scaling.commands.crds import app
from predictive_scaling.resources import crd
from predictive_scaling.resources.kinds import KINDS, Kind
from predictive_scaling.resources.vocabulary import ConditionType
from tests.support.refused_manifests import RefusedManifest, refused_manifests

# The keywords of structural schemas that the CRDs use.
KEYWORDS = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
}


@cache
def schema(kind: Kind) -> dict[str, Any]:
    return crd.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def parts(kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of spec and status at every depth, with its path."""
    pending = [(name, schema(kind)["properties"][name]) for name in ("spec", "status")]
    while pending:
        path, part = pending.pop()
        yield path, part
        pending += [(f"{path}.{name}", subschema) for name, subschema in part.get("properties", {}).items()]
        pending += [(f"{path}[]", part[keyword]) for keyword in ("items", "additionalProperties") if keyword in part]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_is_described(kind: Kind) -> None:
    undescribed = [path for path, part in parts(kind) if not part.get("description") and not path.endswith("[]")]

    assert undescribed == []
    assert schema(kind)["description"].endswith(".")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_defaults_in_lists_are_described_only(kind: Kind) -> None:
    """A default that the API server writes into a list is a difference at each client-side apply."""
    assert [path for path, part in parts(kind) if "[]" in path and "default" in part] == []


def test_the_default_of_a_field_in_a_list_is_described() -> None:
    fields = {path: part for kind in KINDS if kind.name == "ScalingPolicy" for path, part in parts(kind)}
    assert fields["spec.forecast.regressors[].maxLag"]["description"].endswith("Default: 30m.")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_string_array_and_object_is_bounded(kind: Kind) -> None:
    for path, part in parts(kind):
        match part.get("type"):
            case "string":
                assert "maxLength" in part or "enum" in part, path
            case "array":
                assert "maxItems" in part, path
            case "object":
                assert "properties" in part or "maxProperties" in part, path
            case _:
                pass


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_schemas_use_only_keywords_of_structural_schemas(kind: Kind) -> None:
    assert {keyword for _, part in parts(kind) for keyword in part} <= KEYWORDS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_spec_has_no_floating_point_numbers(kind: Kind) -> None:
    assert [path for path, part in parts(kind) if part.get("type") == "number"] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_conditions_are_a_map_by_type_that_holds_all_types(kind: Kind) -> None:
    conditions = schema(kind)["properties"]["status"]["properties"]["conditions"]

    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] >= len(ConditionType)


all_refused_manifests = cache(refused_manifests)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_validation_rule_has_a_manifest_that_it_refuses(kind: Kind) -> None:
    refusals_of_kind = [refusal for refusal in all_refused_manifests() if refusal.invalid["kind"] == kind.name]
    rules = {
        (path + rule.get("fieldPath", ""), rule.get("messageExpression") or rule["message"])
        for path, part in parts(kind)
        for rule in part.get("x-kubernetes-validations", ())
        # tests/contract covers the immutability of decisions by an edit; only the operator writes a status.
        # The rules of a policy in a backtest are those of a ScalingPolicy.
        if path.startswith("spec") and not path.startswith("spec.policySpec") and "oldSelf" not in rule["rule"]
    }

    uncovered = {
        (path, message)
        for path, message in rules
        if not any(refuses(refusal, path, message) for refusal in refusals_of_kind)
    }
    assert uncovered == set()


def refuses(refusal: RefusedManifest, path: str, message: str) -> bool:
    # Only the API server evaluates a messageExpression: for these rules the field has to match.
    matching_field = re.fullmatch(re.escape(path).replace(r"\[\]", r"(\[\d+\]|\.[^.]+)"), refusal.field)
    return matching_field is not None and (".format(" in message or "' + " in message or refusal.message in message)


def test_written_files_are_up_to_date(tmp_path: Path) -> None:
    written = CliRunner().invoke(app, ["--output", str(tmp_path)])
    checked = CliRunner().invoke(app, ["--output", str(tmp_path), "--check"])

    assert written.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "businessevents.yaml",
        "scalingbacktests.yaml",
        "scalingdecisions.yaml",
        "scalingpolicies.yaml",
    ]
    assert (checked.exit_code, checked.output) == (0, "")
    assert yaml.safe_load((tmp_path / "scalingpolicies.yaml").read_text())["kind"] == "CustomResourceDefinition"


def test_changed_missing_and_obsolete_files_are_named(tmp_path: Path) -> None:
    crd.write(tmp_path)
    (tmp_path / "businessevents.yaml").write_text("edited: true\n")
    (tmp_path / "scalingdecisions.yaml").unlink()
    (tmp_path / "oldkinds.yaml").write_text("left: over\n")

    checked = CliRunner().invoke(app, ["--output", str(tmp_path), "--check"])

    assert checked.exit_code == 1
    assert [Path(line.split()[0]).name for line in checked.output.splitlines()] == [
        "businessevents.yaml",
        "oldkinds.yaml",
        "scalingdecisions.yaml",
    ]
    assert (tmp_path / "businessevents.yaml").read_text() == "edited: true\n"
