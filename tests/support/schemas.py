"""Validation against the structural schemas of crds/, as the API server validates before it evaluates rules."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).parents[2] / "crds"
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def violations(kind: str, body: dict[str, Any]) -> list[str]:
    """Return the violations of the CRD of a kind in `body`, one sentence each; metadata is not checked."""
    return list(_violations(_schemas()[kind], {name: part for name, part in body.items() if name != "metadata"}, kind))


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {}
    for path in CRDS.glob("*.yaml"):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        schemas[spec["names"]["kind"]] = spec["versions"][0]["schema"]["openAPIV3Schema"]
    return schemas


def _violations(schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
    expected_type = schema.get("type")
    if expected_type is not None and (
        not isinstance(value, _TYPES[expected_type]) or (expected_type != "boolean" and value is True)
    ):
        yield f"{at} is {value!r:.60}, not of type {expected_type}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r:.60}, none of {schema['enum']}"
    if isinstance(value, dict):
        yield from _object_violations(schema, value, at)
    elif isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            yield f"{at} has {len(value)} items"
        for index, item in enumerate(value):
            yield from _violations(schema["items"], item, f"{at}[{index}]")
    elif isinstance(value, str):
        yield from _text_violations(schema, value, at)
    elif isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{at} is {value}, out of bounds"


def _object_violations(schema: dict[str, Any], value: dict[str, Any], at: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    yield from (f"{at} lacks {name}" for name in schema.get("required", ()) if name not in value)
    for name, part in value.items():
        if name in properties:
            yield from _violations(properties[name], part, f"{at}.{name}")
        elif "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield f"{at} has an unknown field {name}"


def _text_violations(schema: dict[str, Any], value: str, at: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{at} has {len(value)} characters"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{at} is {value!r:.60}, which does not match {schema['pattern']}"
    if "\x00" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        yield f"{at} contains characters that JSON does not allow"
