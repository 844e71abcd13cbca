"""From JSON schema to what Kubernetes takes: structural, without references, with only the words that it knows."""

from typing import Any

from predictive_scaling.resources.part import Part

Schema = dict[str, Any]

# Structural schemas refuse these, or they only repeat what the type says.
_UNKNOWN_WORDS = ("title", "propertyNames", "examples", "const")
_ORDER = ("description", "type", "x-kubernetes-int-or-string", "format", "default", "enum")


def structural(model: type[Part], *, with_defaults: bool) -> Schema:
    """The structural schema of a part. A status has no defaults: what is not there was not found out."""
    schema = model.model_json_schema()
    definitions: dict[str, Schema] = schema.pop("$defs", {})
    return _clean(schema, definitions, with_defaults)


def _clean(schema: Schema, definitions: dict[str, Schema], with_defaults: bool) -> Schema:
    resolved = _merged(schema, definitions)
    cleaned: Schema = {word: resolved[word] for word in sorted(resolved, key=_place) if word not in _UNKNOWN_WORDS}
    if cleaned.get("additionalProperties") is False:
        del cleaned["additionalProperties"]
    if "description" in cleaned:
        cleaned["description"] = " ".join(cleaned["description"].split())
    for word in ("items", "additionalProperties"):
        if isinstance(cleaned.get(word), dict):
            cleaned[word] = _clean(cleaned[word], definitions, with_defaults)
    if "properties" in cleaned:
        cleaned["properties"] = {
            name: _clean(part, definitions, with_defaults) for name, part in cleaned["properties"].items()
        }
    _keep_useful_default(cleaned, with_defaults)
    return cleaned


def _place(word: str) -> tuple[int, str]:
    return (_ORDER.index(word) if word in _ORDER else len(_ORDER), word)


def _merged(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with its reference, or the one branch that is not null, put in; what stands beside it wins."""
    beside = {word: value for word, value in schema.items() if word not in ("$ref", "anyOf", "patternProperties")}
    if "$ref" in schema:
        return _merged(definitions[schema["$ref"].rpartition("/")[2]], definitions) | beside
    if "anyOf" in schema:
        (branch,) = (branch for branch in schema["anyOf"] if branch != {"type": "null"})
        return _merged(branch, definitions) | beside
    if "patternProperties" in schema:
        # Kubernetes has one schema for all values of a map; patterns of keys are rules.
        (values,) = schema["patternProperties"].values()
        return beside | {"additionalProperties": values}
    return beside


def _keep_useful_default(schema: Schema, with_defaults: bool) -> None:
    if "default" not in schema:
        return
    default = schema["default"]
    fills_something = any("default" in part for part in schema.get("properties", {}).values())
    if not with_defaults or (default == {} and not fills_something):
        del schema["default"]
    elif not isinstance(default, dict):
        # `kubectl explain` shows descriptions, not defaults.
        written = str(default).lower() if isinstance(default, bool) else default
        schema["description"] = f"{schema['description']} Default: {written}."
