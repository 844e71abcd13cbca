"""The OpenAPI document: complete, and its examples are valid, also as the routes see them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from predictive_scaling.api import openapi
from predictive_scaling.api.access_control import AccessPolicy, Authority
from predictive_scaling.api.application import create_app
from predictive_scaling.api.examples import PARAMETERS, RESPONSES
from predictive_scaling.api.services import Services

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
PROBLEM = "application/problem+json"
NO_SERVICES = Services(*cast("Any", (None, None, None, None)))  # no route is called


def document(access: AccessPolicy | None = None) -> Json:
    return create_app(NO_SERVICES, access).openapi()


DOCUMENT = document()
OPERATIONS = list(openapi.operations(DOCUMENT))
RESPONSES_OF_OPERATIONS = [
    pytest.param(path, int(status), response, id=f"{method} {path} {status}")
    for method, path, operation in OPERATIONS
    for status, response in operation["responses"].items()
]


def problems_of(value: Any, schema: Json) -> list[str]:
    """Return how a value violates a schema of the document."""
    complete = {**schema, "components": DOCUMENT["components"]}
    validator = Draft202012Validator(complete, format_checker=FormatChecker())
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize(("path", "status", "response"), RESPONSES_OF_OPERATIONS)
def test_every_response_has_an_example_that_its_schema_accepts(path: str, status: int, response: Json) -> None:
    assert response["content"], "a response has a body"
    for media_type, content in response["content"].items():
        example = content["example"]
        assert problems_of(example, content.get("schema", {"type": "string"})) == []
        assert (media_type == PROBLEM) == (isinstance(example, dict) and "title" in example)
        if media_type == PROBLEM:
            assert example["status"] == status
            assert not re.search("[{}]", example["instance"]), "its parameters have values"
            assert example["instance"].count("/") == path.count("/")


def test_an_example_that_does_not_fit_its_schema_is_noticed() -> None:
    schema = DOCUMENT["paths"]["/api/v1/scaling/decisions"]["get"]["responses"]["200"]["content"]["application/json"]
    assert problems_of({"decisions": [{}]}, schema["schema"])


def test_examples_leave_out_no_field() -> None:
    """An optional field that an example lacks would look as if it did not exist."""
    for method, path, operation in OPERATIONS:
        for status, response in operation["responses"].items():
            for media_type, content in response["content"].items():
                if media_type == "application/json" and not path.startswith("/health"):
                    missing = list(missing_fields(content["example"], content["schema"]))
                    assert missing == [], f"{method} {path} {status}"


def missing_fields(example: Any, schema: Json) -> Iterator[str]:
    schema = resolved(schema)
    if isinstance(example, list):
        for element in cast("list[Any]", example):
            yield from missing_fields(element, schema.get("items", {}))
    elif isinstance(example, dict):
        properties = schema.get("properties", {})
        yield from properties.keys() - example.keys()
        for name, value in cast("Json", example).items():
            yield from missing_fields(value, properties.get(name, {}))


def resolved(schema: Json) -> Json:
    options = [option for option in schema.get("anyOf", [schema]) if option != {"type": "null"}]
    reference = options[0].get("$ref", "")
    return DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]] if reference else options[0]


def test_the_examples_of_resources_have_statuses_of_the_product() -> None:
    """The document has no schema of them: a status is what the resource has."""
    backtest = RESPONSES["get", "/api/v1/backtests/{namespace}/{name}"][200]
    definition = yaml.safe_load((ROOT / "crds" / "scalingbacktests.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert list(Draft202012Validator(schema).iter_errors(backtest["status"])) == []
    assert backtest["status"].keys() <= schema["properties"].keys()
    assert all(
        row.keys() == schema["properties"]["rows"]["items"]["properties"].keys() for row in backtest["status"]["rows"]
    )
    recorded = json.loads((ROOT / "tests" / "data" / "policy_status" / "normal.json").read_text())
    (condition,) = RESPONSES["get", "/api/v1/policies/{namespace}/{name}"][200]["conditions"]
    shown = ("type", "status", "reason", "message")
    assert [condition[name] for name in shown] in [[entry[name] for name in shown] for entry in recorded["conditions"]]


def test_every_example_belongs_to_an_operation() -> None:
    statuses = {(method, path): set(operation["responses"]) for method, path, operation in OPERATIONS}
    assert {key: {str(status) for status in examples} for key, examples in RESPONSES.items()} == {
        key: {
            status
            for status in statuses[key]
            if PROBLEM not in DOCUMENT["paths"][key[1]][key[0]]["responses"][status]["content"]
        }
        for key in statuses
    }
    names = {parameter["name"] for _, _, operation in OPERATIONS for parameter in operation.get("parameters", [])}
    assert set(PARAMETERS) == names - {"cursor"}


def test_examples_of_parameters_are_accepted_by_their_schemas() -> None:
    for _, path, operation in OPERATIONS:
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{parameter['name']} of {path}"
            assert {"type": "null"} not in parameter["schema"].get("anyOf", []), parameter["name"]
            for value in (parameter.get("example"), parameter["schema"].get("default")):
                assert value is None or problems_of(value, parameter["schema"]) == [], parameter["name"]


def test_operations_have_short_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z_]+", name) for name in names)
    links = [
        link["operationId"]
        for _, _, operation in OPERATIONS
        for response in operation["responses"].values()
        for link in response.get("links", {}).values()
    ]
    assert set(links) == {"show_command"} <= set(names)


def test_tokens_are_described_where_callers_need_one() -> None:
    assert "securitySchemes" not in DOCUMENT["components"]
    assert not any("security" in operation for _, _, operation in OPERATIONS)
    authority = Authority(*cast("Any", (None, None)))
    for public, closed in ((True, set[str]()), (False, {"/health", "/metrics"})):
        described = document(AccessPolicy(authority, public_telemetry=public))
        assert set(described["components"]["securitySchemes"]) == {"bearerToken"}
        secured = {path for _, path, operation in openapi.operations(described) if "security" in operation}
        assert secured == {path for _, path, _ in OPERATIONS if path.startswith("/api/")} | closed
