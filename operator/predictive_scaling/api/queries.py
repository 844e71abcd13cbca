"""The query of a request as a model, for routes that are called often.

FastAPI inspects the types of a query model at each request, which takes longer than everything else in these routes.
"""

from typing import Any, TypeVar, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from predictive_scaling.api.fields import QueryModel

Query = TypeVar("Query", bound=QueryModel)

_DEFINITION = "#/$defs/"


def query_of(request: Request, model: type[Query]) -> Query:
    """Return the query of a request; the last value of a repeated parameter. Raises RequestValidationError."""
    try:
        return model.model_validate(dict(request.query_params.multi_items()))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise RequestValidationError([{**detail, "loc": ("query", *detail["loc"])} for detail in details]) from None


def documented(model: type[QueryModel]) -> dict[str, Any]:
    """Return the parameters of a query for the OpenAPI document, as `openapi_extra` of a route."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": name in required,
                "description": field["description"],
                "schema": _inlined(field, schema.get("$defs", {})),
            }
            for name, field in schema["properties"].items()
        ]
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a schema in which references are replaced by what they refer to, and null defaults are left out."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast("dict[str, Any]", schema)
    reference = fields.get("$ref")
    if isinstance(reference, str):
        fields = definitions[reference.removeprefix(_DEFINITION)] | {k: v for k, v in fields.items() if k != "$ref"}
    return {
        name: _inlined(value, definitions)
        for name, value in fields.items()
        if not (name == "default" and value is None)
    }
