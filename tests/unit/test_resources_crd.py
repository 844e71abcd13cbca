import re
from collections.abc import Iterator
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

# What structural schemas allow, and we use.
WORDS = {
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


def schema(kind: Kind) -> dict[str, Any]:
    return crd.definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def parts(kind: Kind) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of spec and status at every depth, with its path."""
    waiting = [(name, schema(kind)["properties"][name]) for name in ("spec", "status")]
    while waiting:
        path, part = waiting.pop()
        yield path, part
        waiting += [(f"{path}.{name}", inner) for name, inner in part.get("properties", {}).items()]
        waiting += [(f"{path}[]", part[word]) for word in ("items", "additionalProperties") if word in part]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_is_described(kind: Kind) -> None:
    undescribed = [path for path, part in parts(kind) if not part.get("description") and not path.endswith("[]")]

    assert undescribed == []
    assert schema(kind)["description"].endswith(".")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_text_list_and_map_has_an_end(kind: Kind) -> None:
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
def test_schemas_hold_only_words_that_structural_schemas_know(kind: Kind) -> None:
    assert {word for _, part in parts(kind) for word in part} <= WORDS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_numbers_in_a_spec_are_never_floating(kind: Kind) -> None:
    assert [path for path, part in parts(kind) if part.get("type") == "number"] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_conditions_are_a_map_by_type_with_room_for_all(kind: Kind) -> None:
    conditions = schema(kind)["properties"]["status"]["properties"]["conditions"]

    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert conditions["maxItems"] >= len(ConditionType)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_rule_and_pattern_has_a_manifest_that_it_refuses(kind: Kind) -> None:
    seen = [refusal for refusal in refused_manifests() if refusal.invalid["kind"] == kind.name]
    rules = {
        (path + rule.get("fieldPath", ""), rule.get("messageExpression") or rule["message"])
        for path, part in parts(kind)
        for rule in part.get("x-kubernetes-validations", ())
        # That a decision is immutable shows in an edit, which tests/contract tries; a status is ours.
        if path.startswith("spec") and "oldSelf" not in rule["rule"]
    }

    assert {(path, told) for path, told in rules if not any(refuses(refusal, path, told) for refusal in seen)} == set()


def refuses(refusal: RefusedManifest, path: str, told: str) -> bool:
    # A messageExpression tells numbers that only the API server puts in: there the field is enough.
    named = re.fullmatch(re.escape(path).replace(r"\[\]", r"(\[\d+\]|\.[^.]+)"), refusal.field)
    return named is not None and (".format(" in told or "' + " in told or refusal.message in told)


def test_files_are_written_and_found_up_to_date(tmp_path: Path) -> None:
    written = CliRunner().invoke(app, ["--output", str(tmp_path)])
    checked = CliRunner().invoke(app, ["--output", str(tmp_path), "--check"])

    assert written.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "businessevents.yaml",
        "scalingdecisions.yaml",
        "scalingpolicies.yaml",
    ]
    assert (checked.exit_code, checked.output) == (0, "")
    assert yaml.safe_load((tmp_path / "scalingpolicies.yaml").read_text())["kind"] == "CustomResourceDefinition"


def test_a_file_that_differs_is_missing_or_is_left_over_is_named(tmp_path: Path) -> None:
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
