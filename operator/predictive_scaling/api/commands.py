"""What is asked of the operator: awaited for some seconds, then 202 and a place to look."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException

from predictive_scaling.api.fields import ResponseModel, Time
from predictive_scaling.api.problems import problem, responses
from predictive_scaling.api.request_limits import API_V1
from predictive_scaling.api.services import Services, Use

router = APIRouter(prefix="/commands", tags=["commands"])

RELOAD_MODELS = "reload_models"
CLEAR_STUCK = "clear_stuck_decisions"
_MAX_ID = 2**63 - 1
_UNHEARD_SECONDS = 2.0
"""How long a command is awaited while no operator leads: one may just begin to."""


class AskedCommand(ResponseModel):
    """Something that the operator was asked to do."""

    id: int
    kind: str = Field(description="reload_models or clear_stuck_decisions.")
    status: str = Field(description="asked, claimed or answered.")
    created_at: Time
    answered_at: Time | None
    answer: dict[str, Any] | None = Field(description="What the operator said; `error` where it failed.")


class Accepted(ResponseModel):
    """The operator has not answered yet."""

    command: int = Field(description="Its id.")
    location: str = Field(description="Where to look for the answer.")
    message: str = Field(description="Why there is no answer yet.")


@router.get("/{id}", responses=responses(404))
async def show_command(id: Annotated[int, Path(ge=1, le=_MAX_ID)], services: Use) -> AskedCommand:  # noqa: A002 (the path's name)
    """How far it has come."""
    command = await services.commands.by_id(id)
    if command is None:
        raise HTTPException(404, f"there is no command {id}")
    return AskedCommand.model_validate(command)


async def ask(services: Services, kind: str, show: Callable[[Mapping[str, Any]], Response]) -> Response:
    """Ask, wait, and show the answer; 502 when the operator failed.

    202 when there is no answer in time, and soon when no operator leads: the first one that does takes the command.
    """
    commands, limit = services.commands, services.command_limit_seconds
    number = await commands.ask(kind, {}, services.clock.now())
    answer = await commands.wait(number, min(limit, _UNHEARD_SECONDS))
    is_heard = answer is not None or await commands.is_heard()
    if answer is None and is_heard and limit > _UNHEARD_SECONDS:
        answer = await commands.wait(number, limit - _UNHEARD_SECONDS)
    if answer is None:
        location = f"{API_V1}/commands/{number}"
        message = "the operator has not answered yet" if is_heard else "no operator leads; the next one takes it"
        accepted = Accepted(command=number, location=location, message=message)
        return JSONResponse(accepted.model_dump(), 202, headers={"Location": location, "Retry-After": "5"})
    if "error" in answer:
        return problem(502, f"the operator could not do it: {answer['error']}", reason="OperatorFailed")
    try:
        return show(answer)
    except (ValidationError, TypeError):
        return problem(502, f"the operator's answer to {kind} is of another release", reason="OperatorFailed")
