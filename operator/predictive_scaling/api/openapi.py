"""The OpenAPI document beyond what FastAPI generates: problems, headers, links, tokens and examples."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from predictive_scaling.api.access_rules import RULES, RuleKind
from predictive_scaling.api.examples import PARAMETERS, RESPONSES, problem_example
from predictive_scaling.api.problems import MEDIA_TYPE, SCHEMAS, Problem

_SCHEME = "bearerToken"
_HEADERS: dict[int, dict[str, str]] = {
    202: {"Location": "Path of the command.", "Retry-After": "Seconds until it is worth looking."},
    401: {"WWW-Authenticate": "Scheme and, for a token that is not valid, the error."},
    429: {"Retry-After": "Seconds until the client may send again."},
}
_COMMAND_LINK = {"operationId": "show_command", "parameters": {"path.id": "$response.body#/command"}}

Json = dict[str, Any]


def complete(schema: Json, *, with_tokens: bool, public_telemetry: bool) -> Json:
    """Complete a generated document. with_tokens: whether callers need one."""
    described = Problem.model_json_schema(ref_template=SCHEMAS)
    schema["components"]["schemas"] |= described.pop("$defs")
    schema["components"]["schemas"]["Problem"] = described
    if with_tokens:
        schema["components"]["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": "bearer"}}
    for method, path, operation in operations(schema):
        for parameter in operation.get("parameters", []):
            _describe_parameter(parameter)
        for status, response in operation["responses"].items():
            _describe_response(method, path, int(status), response)
        kind = RULES[method.upper(), path].kind
        is_open = kind is RuleKind.OPEN or (kind is RuleKind.TELEMETRY and public_telemetry)
        if with_tokens and not is_open:
            operation["security"] = [{_SCHEME: []}]
    return schema


def operations(schema: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield method, path and operation."""
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def _describe_parameter(parameter: Json) -> None:
    schema = parameter["schema"]
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        # A parameter that is left out has no value, and a query cannot say null.
        parameter["schema"] = options[0] | {name: value for name, value in schema.items() if name != "anyOf"}
    if parameter["name"] in PARAMETERS:
        parameter["example"] = PARAMETERS[parameter["name"]]


def _describe_response(method: str, path: str, status: int, response: Json) -> None:
    headers = _HEADERS.get(status, {})
    if headers:
        response["headers"] = {
            name: {"description": text, "required": True, "schema": {"type": "string"}}
            for name, text in headers.items()
        }
    if status == HTTPStatus.ACCEPTED:
        response["links"] = {"command": _COMMAND_LINK}
    for media_type, content in response.get("content", {}).items():
        is_problem = media_type == MEDIA_TYPE
        title = HTTPStatus(status).phrase
        content["example"] = problem_example(status, title, path) if is_problem else RESPONSES[method, path][status]
