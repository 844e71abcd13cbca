"""Errors as RFC 9457 problem details: what happened, to which parameter, and what is allowed."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from predictive_scaling.errors import PredictiveScalingError
from predictive_scaling.telemetry.logs import masked

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
_MAX_INPUT_LENGTH = 80
_SCHEMAS = "#/components/schemas/{model}"


class InvalidParameter(BaseModel):
    """One parameter that was refused."""

    parameter: str = Field(description="Its name as it was sent.")
    location: str = Field(description="Where it stood: query, path or body.")
    message: str = Field(description="What is wrong, and what is allowed.")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field("about:blank", description="about:blank: the status says what kind of problem it is.")
    title: str = Field(description="The kind of problem.")
    status: int = Field(description="The HTTP status again.")
    detail: str = Field(description="What happened, to what, and what to do.")
    instance: str | None = Field(None, description="The path that was asked for.")
    reason: str | None = Field(None, description="The cause in one word, where it has one.")
    errors: list[InvalidParameter] | None = Field(None, description="Every parameter that was refused.")


def problem(
    status: int,
    detail: str,
    *,
    instance: str | None = None,
    reason: str | None = None,
    errors: Sequence[InvalidParameter] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A response that says what went wrong."""
    found = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=masked(detail),
        instance=instance,
        reason=reason,
        errors=None if errors is None else list(errors),
    )
    return JSONResponse(found.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these problems; `describe_problems` adds the schema that they refer to."""
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS.format(model="Problem")}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def describe_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the shape of problems to an OpenAPI document."""
    described = Problem.model_json_schema(ref_template=_SCHEMAS)
    schema["components"]["schemas"] |= described.pop("$defs")
    schema["components"]["schemas"]["Problem"] = described
    return schema


def show_problems(application: FastAPI) -> None:
    """Answer every error of routes in this shape."""
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(PredictiveScalingError, _ours)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [_parameter(each) for each in found]
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "; ".join(f"{each.parameter}: {each.message}" for each in errors),
        instance=request.url.path,
        reason="InvalidParameter",
        errors=errors,
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    details = {
        HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path}; see /docs",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path} does not take {request.method}",
    }
    status = HTTPStatus(error.status_code)
    own = error.detail if error.detail != status.phrase else ""
    detail = own or details.get(status, status.phrase)
    return problem(status, detail, instance=request.url.path, headers=error.headers)


async def _ours(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PredictiveScalingError):
        raise error
    log.warning("request_failed", path=request.url.path, reason=error.reason, error=str(error))
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(error.status, str(error), instance=request.url.path, reason=error.reason, headers=headers)


def _parameter(error: Mapping[str, Any]) -> InvalidParameter:
    location, *names = [str(part) for part in error["loc"]] or ["request"]
    given = error.get("input")
    shown = f"; given {_short(given)}" if isinstance(given, str | int | float) else ""
    return InvalidParameter(parameter=".".join(names) or location, location=location, message=_message(error) + shown)


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such parameter"
    if error["type"] == "missing":
        return "is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_INPUT_LENGTH else f"{text[:_MAX_INPUT_LENGTH]}…"
