"""Trained models: the list, and reloading them."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from predictive_scaling.api.commands import RELOAD_MODELS, Accepted, run_command
from predictive_scaling.api.fields import NamespaceQuery, QueryModel, ResponseModel
from predictive_scaling.api.problems import responses
from predictive_scaling.api.services import Use
from predictive_scaling.api.stored_models import Models, RejectedModel
from predictive_scaling.api.visible_namespaces import VisibleNamespaces

router = APIRouter(prefix="/models", tags=["models"])


class ReloadRequest(BaseModel):
    """An empty object: models are loaded only from the configured directory."""

    model_config = ConfigDict(extra="forbid")


class Reloaded(ResponseModel):
    """Result of the reload."""

    reloaded: list[str] = Field(description="Loaded models.")
    rejected: list[RejectedModel] = Field(description="Rejected files; their previous version stays in use.")


async def _json_only(request: Request) -> None:
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and media_type != "application/json":
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"the body is {media_type or 'untyped'}; send application/json or no body",
        )


@router.get("")
async def list_models(query: Annotated[NamespaceQuery, Query()], services: Use, visible: VisibleNamespaces) -> Models:
    """Return the current model version of each series, and the versions that failed validation.

    A caller who may not see all namespaces gets the models of the services that a visible policy names.
    """
    models = await asyncio.to_thread(services.stored_models)
    visible = visible.within(query.namespace)
    if visible.namespaces is None:
        return models
    shown = {name for name in await services.policies.services(visible.namespaces) if visible.shows(name)}
    # A rejected file names no service that could be trusted, and the shared model no single service.
    return Models(models=[model for model in models.models if model.service_name in shown], rejected=[])


@router.post(
    "/reload",
    response_model=Reloaded,
    responses={202: {"model": Accepted}, **responses(408, 413, 415, 502)},
    dependencies=[Depends(_json_only)],
)
async def reload_models(
    _: Annotated[QueryModel, Query()], services: Use, request: ReloadRequest | None = None
) -> Response:
    """Reload the models directory in the operator. Returns 202 while the operator has not responded."""
    return await run_command(services, RELOAD_MODELS, lambda result: JSONResponse(Reloaded(**result).model_dump()))
