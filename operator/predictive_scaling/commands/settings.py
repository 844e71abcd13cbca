"""`predictive-scaling settings`: lists all settings, generated from the Settings class."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.settings import Settings
from predictive_scaling.settings_sources import setting_name

app = typer.Typer()


class Output(StrEnum):
    """Format of the list."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


@app.command()
def settings(
    output: Annotated[Output, typer.Option(help="Output format.")] = Output.TEXT,
) -> None:
    """List all settings with their defaults and descriptions."""
    rows = [
        {"name": variable(name, field), "default": default(field.default), "description": description(field)}
        for name, field in Settings.model_fields.items()
    ]
    typer.echo(_RENDER[output](rows))


def variable(name: str, field: FieldInfo) -> str:
    """Return the environment variable of a setting."""
    return str(field.validation_alias) if field.validation_alias else setting_name(name)


def default(value: Any) -> str:
    """Return a default in the syntax of the setting; secrets are masked."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value().partition("//")[0] + "//…"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value in ("", (), {}):
        return ""
    if isinstance(value, tuple | dict):
        return msgspec.json.encode(value).decode()
    return str(value)


def description(field: FieldInfo) -> str:
    """Return the description of a setting in one line."""
    return " ".join((field.description or "").split())


def _text(rows: list[dict[str, str]]) -> str:
    return "\n".join(f"{row['name']}={row['default']}\n    {row['description']}" for row in rows)


def _markdown(rows: list[dict[str, str]]) -> str:
    lines = [f"| `{row['name']}` | {_code(row['default'])} | {row['description']} |" for row in rows]
    return "\n".join(["| setting | default | description |", "|---|---|---|", *lines])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _json(rows: list[dict[str, str]]) -> str:
    return msgspec.json.format(msgspec.json.encode(rows)).decode()


_RENDER = {Output.TEXT: _text, Output.MARKDOWN: _markdown, Output.JSON: _json}
