"""Trained models: the list, and reloading them."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from predictive_scaling.api.commands import RELOAD_MODELS, Accepted, run_command
from predictive_scaling.api.fields import Number, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.services import Use

router = APIRouter(prefix="/models", tags=["models"])


class Score(ResponseModel):
    """The holdout score of a kind of model, as the quality gate measured it."""

    model: str
    wape: Number
    mape: Number
    coverage: Number
    cost: Number = Field(
        description="Pinball loss of p90 over the mean demand; under-forecasting costs nine times over-forecasting."
    )
    short: Number = Field(description="Share of the time in which a floor of p90 was too low.")
    hours: Number = Field(description="Replicas of that floor over the required replicas.")


class Horizon(ResponseModel):
    """The kind of model in use up to a forecast horizon."""

    minutes: float
    model: str


class Change(ResponseModel):
    """A change of the version in use, or a rejected version."""

    at: Time
    outcome: Literal["promoted", "rejected", "rolled_back"] = Field(
        description="promoted: in use. rejected: a naive model is used. rolled_back: a user returned to this version."
    )
    version: str
    previous: str | None = Field(description="Version that was in use before.")
    evidence: str


class Model(ResponseModel):
    """The current model version of a series, from its manifest."""

    service_name: str
    metric_name: str
    version: str
    folder: str = Field(description="Path inside the models directory.")
    trained_from: Time
    trained_until: Time
    acting: str = Field(description="Kind of model in use: the best that passed the quality gate.")
    evidence: str = Field(description="Explanation in one sentence.")
    horizons: list[Horizon] = Field(
        description="Kind of model by horizon; empty when one kind is used for all horizons."
    )
    scores: list[Score]
    history: list[Change] = Field(description="Most recent changes, newest first.")


class RejectedModel(ResponseModel):
    """A model file that failed validation."""

    file: str
    reason: str


class Models(ResponseModel):
    """Models by service and metric."""

    models: list[Model]
    rejected: list[RejectedModel] = Field(description="Model versions that failed validation.")


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
async def list_models(_: Annotated[QueryModel, Query()], services: Use) -> Models:
    """Return the current model version of each series, and the versions that failed validation."""
    return Models.model_validate(await asyncio.to_thread(services.stored_models))


@router.post(
    "/reload",
    response_model=Reloaded,
    responses={202: {"model": Accepted}, **responses(415, 502)},
    dependencies=[Depends(_json_only)],
)
async def reload_models(services: Use, request: ReloadRequest | None = None) -> Response:
    """Reload the models directory in the operator. Returns 202 while the operator has not responded."""
    return await run_command(services, RELOAD_MODELS, lambda result: JSONResponse(Reloaded(**result).model_dump()))
