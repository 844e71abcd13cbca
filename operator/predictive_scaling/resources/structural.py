"""Converts a JSON schema to a structural schema of Kubernetes: without references and unsupported keywords."""

from typing import Any

from predictive_scaling.resources.part import Part

Schema = dict[str, Any]

# Structural schemas do not allow these, or they only repeat the type.
_UNSUPPORTED_KEYWORDS = ("title", "propertyNames", "examples", "const")
_ORDER = ("description", "type", "x-kubernetes-int-or-string", "format", "default", "enum")


def structural(model: type[Part], *, with_defaults: bool) -> Schema:
    """Return the structural schema of a part. A status has no defaults: an absent field is unknown.

    Defaults of the items of a list are only described. The API server would write them into the list, which client-side
    apply replaces as a whole: `kubectl apply` and GitOps tools would see a difference at each comparison.
    """
    schema = model.model_json_schema()
    definitions: dict[str, Schema] = schema.pop("$defs", {})
    return _clean(schema, definitions, with_defaults)


def _clean(schema: Schema, definitions: dict[str, Schema], with_defaults: bool, *, in_list: bool = False) -> Schema:
    resolved = _merged(schema, definitions)
    keywords = sorted(resolved, key=_position)
    cleaned: Schema = {keyword: resolved[keyword] for keyword in keywords if keyword not in _UNSUPPORTED_KEYWORDS}
    if isinstance(cleaned.get("additionalProperties"), bool):
        del cleaned["additionalProperties"]
    if "description" in cleaned:
        cleaned["description"] = " ".join(cleaned["description"].split())
    for keyword in ("items", "additionalProperties"):
        if isinstance(cleaned.get(keyword), dict):
            is_in_list = in_list or keyword == "items"
            cleaned[keyword] = _clean(cleaned[keyword], definitions, with_defaults, in_list=is_in_list)
    if "properties" in cleaned:
        cleaned["properties"] = {
            name: _clean(part, definitions, with_defaults, in_list=in_list)
            for name, part in cleaned["properties"].items()
        }
    _keep_useful_default(cleaned, with_defaults)
    if in_list:
        cleaned.pop("default", None)
    return cleaned


def _position(keyword: str) -> tuple[int, str]:
    return (_ORDER.index(keyword) if keyword in _ORDER else len(_ORDER), keyword)


def _merged(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema with its reference or its only non-null branch inserted; its own keywords take precedence."""
    own = {name: value for name, value in schema.items() if name not in ("$ref", "anyOf", "patternProperties")}
    if "$ref" in schema:
        return _merged(definitions[schema["$ref"].rpartition("/")[2]], definitions) | own
    if "anyOf" in schema:
        (branch,) = (branch for branch in schema["anyOf"] if branch != {"type": "null"})
        return _merged(branch, definitions) | own
    if "patternProperties" in schema:
        # Kubernetes has one schema for all values of a map; patterns of keys are rules.
        (values,) = schema["patternProperties"].values()
        return own | {"additionalProperties": values}
    return own


def _keep_useful_default(schema: Schema, with_defaults: bool) -> None:
    if "default" not in schema:
        return
    default = schema["default"]
    has_nested_default = any("default" in part for part in schema.get("properties", {}).values())
    if not with_defaults or (default == {} and not has_nested_default):
        del schema["default"]
    elif not isinstance(default, dict):
        # `kubectl explain` shows descriptions, not defaults.
        text = str(default).lower() if isinstance(default, bool) else default
        schema["description"] = f"{schema['description']} Default: {text}."
