"""Errors as RFC 9457 problem details: what happened, to which parameter, and which values are allowed."""

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
SCHEMAS = "#/components/schemas/{model}"
"""Template of references in the OpenAPI document."""


class InvalidParameter(BaseModel):
    """A parameter that was rejected."""

    parameter: str = Field(description="Name of the parameter.")
    location: str = Field(description="Location: query, path or body.")
    message: str = Field(description="Problem and allowed values.")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field("about:blank", description="Always about:blank: the status is the type.")
    title: str = Field(description="Phrase of the HTTP status.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What happened, to which object, and what to do.")
    instance: str | None = Field(None, description="Path of the request.")
    reason: str | None = Field(None, description="Machine-readable cause, if any.")
    errors: list[InvalidParameter] | None = Field(None, description="All rejected parameters.")


def problem(
    status: int,
    detail: str,
    *,
    instance: str | None = None,
    reason: str | None = None,
    errors: Sequence[InvalidParameter] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem response."""
    document = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=masked(detail),
        instance=instance,
        reason=reason,
        errors=None if errors is None else list(errors),
    )
    return JSONResponse(document.model_dump(exclude_none=True), status, headers=headers, media_type=MEDIA_TYPE)


def product_problem(path: str, error: PredictiveScalingError) -> JSONResponse:
    """Return the problem response of an error of the product, and log it."""
    log.warning("request_failed", path=path, reason=error.reason, error=str(error))
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return problem(error.status, str(error), instance=path, reason=error.reason, headers=headers)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses of these statuses; the schema that they reference is added in openapi.py."""
    content = {MEDIA_TYPE: {"schema": {"$ref": SCHEMAS.format(model="Problem")}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def show_problems(application: FastAPI) -> None:
    """Register handlers that return all errors of routes as problems."""
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(PredictiveScalingError, _product_error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    details = error.errors() if isinstance(error, RequestValidationError) else []
    return _invalid_parameters(request, [_parameter(detail) for detail in details])


def _invalid_parameters(request: Request, errors: Sequence[InvalidParameter]) -> JSONResponse:
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "; ".join(f"{parameter.parameter}: {parameter.message}" for parameter in errors),
        instance=request.url.path,
        reason="InvalidParameter",
        errors=errors,
    )


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    details = {
        HTTPStatus.NOT_FOUND: f"{request.url.path} does not exist; /docs lists all paths",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path} does not support {request.method}",
    }
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.BAD_REQUEST:
        # FastAPI raises it for a body that cannot be decoded; other invalid JSON is a RequestValidationError.
        body = InvalidParameter(parameter="body", location="body", message="is not JSON in UTF-8")
        return _invalid_parameters(request, [body])
    specific = error.detail if error.detail != status.phrase else ""
    detail = specific or details.get(status, status.phrase)
    return problem(status, detail, instance=request.url.path, headers=error.headers)


async def _product_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, PredictiveScalingError):
        raise error
    return product_problem(request.url.path, error)


def _parameter(error: Mapping[str, Any]) -> InvalidParameter:
    location, *names = [str(part) for part in error["loc"]] or ["request"]
    value = error.get("input")
    suffix = f"; given {_short(value)}" if isinstance(value, str | int | float) else ""
    return InvalidParameter(parameter=".".join(names) or location, location=location, message=_message(error) + suffix)


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a known parameter"
    if error["type"] == "missing":
        return "is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_INPUT_LENGTH else f"{text[:_MAX_INPUT_LENGTH]}…"
