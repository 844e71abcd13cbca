"""What is asked of the operator: awaited for some seconds, then 202 and a place to look."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException

from predictive_scaling.api.fields import Answer, Time
from predictive_scaling.api.guard import API_V1
from predictive_scaling.api.problems import problem, responses
from predictive_scaling.api.services import Services, Use

router = APIRouter(prefix="/commands", tags=["commands"])

RELOAD_MODELS = "reload_models"
CLEAR_STUCK = "clear_stuck_decisions"
_LARGEST_ID = 2**63 - 1


class AskedCommand(Answer):
    """Something that the operator was asked to do."""

    id: int
    kind: str = Field(description="reload_models or clear_stuck_decisions.")
    status: str = Field(description="asked, claimed or answered.")
    created_at: Time
    answered_at: Time | None
    answer: dict[str, Any] | None = Field(description="What the operator said; `error` where it failed.")


class Accepted(Answer):
    """The operator has not answered yet."""

    command: int = Field(description="Its id.")
    location: str = Field(description="Where to look for the answer.")


@router.get("/{id}", responses=responses(404))
async def show_command(id: Annotated[int, Path(ge=1, le=_LARGEST_ID)], services: Use) -> AskedCommand:  # noqa: A002 (the path's name)
    """How far it has come."""
    command = await services.commands.by_id(id)
    if command is None:
        raise HTTPException(404, f"there is no command {id}")
    return AskedCommand.model_validate(command)


async def ask(services: Services, kind: str, show: Callable[[Mapping[str, Any]], Response]) -> Response:
    """Ask, wait, and show the answer; 202 when there is none in time, 502 when the operator failed."""
    number = await services.commands.ask(kind, {}, services.clock.now())
    answer = await services.commands.wait(number, services.command_limit_seconds)
    if answer is None:
        location = f"{API_V1}/commands/{number}"
        accepted = Accepted(command=number, location=location)
        return JSONResponse(accepted.model_dump(), 202, headers={"Location": location, "Retry-After": "5"})
    if "error" in answer:
        return problem(502, f"the operator could not do it: {answer['error']}", reason="OperatorFailed")
    try:
        return show(answer)
    except (ValidationError, TypeError):
        return problem(502, f"the operator's answer to {kind} is of another release", reason="OperatorFailed")
