"""values.schema.json of the Helm chart, generated from the models of the values and of the settings."""

import json
from typing import Any

from pydantic.alias_generators import to_camel

from predictive_scaling.chart.values import DURATION_PATTERN, Values
from predictive_scaling.settings import Settings

Schema = dict[str, Any]

SET_BY_THE_CHART = frozenset(
    {
        "database_url",
        "redis_url",
        "kafka_bootstrap_servers",
        "kafka_options",
        "sources",
        "models_dir",
        "train_from_operator",
        "placeholder_priority_class",
        "namespaces",
        "lease_name",
        "lease_namespace",
        "external_metrics",
        "external_metrics_port",
        "external_metrics_certificate",
        "external_metrics_key",
        "host",
        "api_port",
        "api_certificate",
        "api_key",
        "operator_port",
        "ingest_port",
        "trainer_port",
        "remote_write",
        "remote_write_port",
        "remote_write_token_file",
        "remote_write_certificate",
        "remote_write_key",
        "clock",
    }
)
"""Settings that follow from other values or from the image; `clock` is for tests."""

_KEPT = ("type", "description", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "items")


def values_schema() -> str:
    """Return the text of values.schema.json."""
    schema = _without_defaults(Values.model_json_schema())
    schema["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {to_camel(name): setting for name, setting in setting_schemas().items()},
    }
    # Values of parent charts.
    schema["properties"]["global"] = {"type": "object"}
    document = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def setting_schemas() -> dict[str, Schema]:
    """Return the schema of each setting that users of the chart may write, by the name of its field."""
    generated = Settings.model_json_schema()["properties"]
    return {
        name: _setting(generated[name]) | {"description": field.description}
        for name, field in Settings.model_fields.items()
        if name not in SET_BY_THE_CHART
    }


def _setting(schema: Schema) -> Schema:
    """The keywords of JSON Schema. A duration is written as in manifests; the process checks its range."""
    if schema.get("format") == "duration":
        return {"type": "string", "minLength": 2, "pattern": DURATION_PATTERN}
    alternatives = [part for part in schema.get("anyOf", ()) if part.get("type") != "null"]
    if len(alternatives) == 1:
        return _setting(alternatives[0])
    kept = {keyword: schema[keyword] for keyword in _KEPT if keyword in schema}
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            kept[keyword] = _setting(schema[keyword])
    return kept


def _without_defaults(schema: Any) -> Any:
    """The schema without titles, defaults and descriptions, which values.yaml has."""
    if isinstance(schema, list):
        return [_without_defaults(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "duration":
        return _setting(schema)
    return {
        key: {name: _without_defaults(part) for name, part in value.items()}
        if key in ("properties", "$defs")
        else _without_defaults(value)
        for key, value in schema.items()
        if key not in ("title", "default", "description", "discriminator") and (key, value) != ("format", "path")
    }
