"""Trained models: which there are, and reading them again."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from predictive_scaling.api.commands import RELOAD_MODELS, Accepted, ask
from predictive_scaling.api.fields import Number, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.services import Use

router = APIRouter(prefix="/models", tags=["models"])


class Score(ResponseModel):
    """What the quality gate saw of one kind of model, on data that it had not learned from."""

    model: str
    wape: Number
    mape: Number
    coverage: Number
    cost: Number = Field(description="Pinball loss of p90 over the mean demand: too little costs nine times too much.")
    short: Number = Field(description="The share of the time in which a floor of p90 was too low.")
    hours: Number = Field(description="The replicas of that floor over those that were needed.")


class Horizon(ResponseModel):
    """The model that acts up to so far ahead."""

    minutes: float
    model: str


class Change(ResponseModel):
    """What became of a version, and why."""

    at: Time
    outcome: Literal["promoted", "rejected", "rolled_back"] = Field(
        description="promoted: it acts. rejected: a naive model acts. rolled_back: someone went back to it."
    )
    version: str
    previous: str | None = Field(description="The version in use before.")
    evidence: str


class Model(ResponseModel):
    """The current version of one series' models, as its manifest describes it."""

    service_name: str
    metric_name: str
    version: str
    folder: str = Field(description="In the models' folder.")
    trained_from: Time
    trained_until: Time
    acting: str = Field(description="The kind of model that forecasts: the best that passed the gate.")
    evidence: str = Field(description="Why, in one sentence.")
    horizons: list[Horizon] = Field(description="Who acts how far ahead; empty where one model acts at all of them.")
    scores: list[Score]
    history: list[Change] = Field(description="The newest changes, newest first.")


class RejectedModel(ResponseModel):
    """A file that may not be used."""

    file: str
    reason: str


class Models(ResponseModel):
    """By service and metric."""

    models: list[Model]
    rejected: list[RejectedModel] = Field(description="Versions that cannot be read.")


class ReloadRequest(BaseModel):
    """Nothing can be chosen: models come from the configured folder only."""

    model_config = ConfigDict(extra="forbid")


class Reloaded(ResponseModel):
    """What the operator did."""

    reloaded: list[str] = Field(description="Models that serve now.")
    rejected: list[RejectedModel] = Field(description="Files that were refused; what served before goes on.")


async def _json_only(request: Request) -> None:
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if has_body and kind != "application/json":
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body is {kind or 'of no type'}; send application/json or no body"
        )


@router.get("")
async def list_models(_: Annotated[QueryModel, Query()], services: Use) -> Models:
    """What the configured folder holds: the current version of each series, and what cannot be read."""
    return Models.model_validate(await asyncio.to_thread(services.stored_models))


@router.post(
    "/reload",
    response_model=Reloaded,
    responses={202: {"model": Accepted}, **responses(415, 502)},
    dependencies=[Depends(_json_only)],
)
async def reload_models(services: Use, request: ReloadRequest | None = None) -> Response:
    """Ask the operator to read the models' folder again. 202 while it has not answered."""
    return await ask(services, RELOAD_MODELS, lambda answer: JSONResponse(Reloaded(**answer).model_dump()))
