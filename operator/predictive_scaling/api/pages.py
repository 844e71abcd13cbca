"""/docs: API documentation as a self-contained page, generated from /openapi.json."""

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}
h2{margin-top:2.5rem;border-bottom:1px solid #d5dbe1}
code{font:14px ui-monospace,monospace;background:#f1f4f6;padding:0 .25em}
pre{overflow:auto;background:#f1f4f6;padding:.5rem}
.method{display:inline-block;min-width:4.5rem;font-weight:600}table{border-collapse:collapse;width:100%;font-size:15px}
td,th{text-align:left;vertical-align:top;padding:.2rem .75rem .2rem 0;border-bottom:1px solid #eceff2}
@media(prefers-color-scheme:dark){body{background:#14191f;color:#dfe6ec}
code,pre{background:#232b33}h2,td,th{border-color:#303a44}}
"""


@router.get("/docs")
async def show_docs(request: Request) -> HTMLResponse:
    """Return the documentation of all routes, parameters and response fields."""
    return HTMLResponse(page(request.app.openapi()))


def page(schema: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    title = escape(schema["info"]["title"])
    models = schema.get("components", {}).get("schemas", {})
    operations = [
        _operation(method, path, operation)
        for path, item in schema["paths"].items()
        for method, operation in item.items()
    ]
    schemas = [_model(name, model) for name, model in models.items() if "properties" in model]
    return "".join(
        [
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
            f"<h1>{title} {escape(schema['info']['version'])}</h1><p>{escape(schema['info']['description'])}</p>",
            "<p>For programs: <a href=/openapi.json>/openapi.json</a></p>",
            *operations,
            "<h1>Responses</h1>",
            *schemas,
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = [
        (
            parameter["name"],
            _kind(parameter.get("schema", {})),
            parameter.get("description", ""),
            parameter.get("required", False),
        )
        for parameter in operation.get("parameters", [])
    ]
    rows = [(name, kind, f"{text}{' Required.' if required else ''}") for name, kind, text, required in parameters]
    responses = ", ".join(f"{status} {_response(response)}" for status, response in operation["responses"].items())
    return (
        f"<h2><span class=method>{escape(method.upper())}</span><code>{escape(path)}</code></h2>"
        f"<p>{escape(operation.get('description', ''))}</p>{_table(rows)}<p>Responses: {responses}</p>"
        f"{_examples(operation['responses'])}"
    )


def _examples(responses: Mapping[str, Any]) -> str:
    """Return the examples of all responses, folded."""
    parts = [
        f"<details><summary>Example of {status}</summary><pre>{escape(_text(content['example']))}</pre></details>"
        for status, response in responses.items()
        for content in response.get("content", {}).values()
        if "example" in content
    ]
    return "".join(parts)


def _text(example: Any) -> str:
    return example if isinstance(example, str) else json.dumps(example, indent=2)


def _response(response: Mapping[str, Any]) -> str:
    references = [content.get("schema", {}) for content in response.get("content", {}).values()]
    kinds = sorted({_kind(reference) for reference in references if reference})
    return f"<code>{escape(', '.join(kinds))}</code>" if kinds else escape(response.get("description", ""))


def _model(name: str, model: Mapping[str, Any]) -> str:
    rows = [(field, _kind(schema), schema.get("description", "")) for field, schema in model["properties"].items()]
    return f"<h2 id={escape(name)}>{escape(name)}</h2><p>{escape(model.get('description', ''))}</p>{_table(rows)}"


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    lines = [f"<tr><td><code>{escape(name)}</code><td>{escape(kind)}<td>{escape(text)}" for name, kind, text in rows]
    return f"<table>{''.join(lines)}</table>" if lines else ""


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a short description of a JSON schema."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = [f"{text} {schema[key]}" for key, text in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([str(schema.get("type", "any")), *bounds])
