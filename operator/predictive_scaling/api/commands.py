"""Commands to the operator: the API waits some seconds for the result, then returns 202 with a location."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.exceptions import HTTPException

from predictive_scaling.api.fields import QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.request_limits import API_V1
from predictive_scaling.api.services import Services, Use
from predictive_scaling.errors import OperatorFailedError

router = APIRouter(prefix="/commands", tags=["commands"])

RELOAD_MODELS = "reload_models"
CLEAR_STUCK = "clear_stuck_decisions"
_MAX_ID = 2**63 - 1
_NO_LEADER_WAIT_SECONDS = 2.0
"""Wait for a result while no operator leads: a leader may be elected in this time."""


class CommandStatus(ResponseModel):
    """A command to the operator."""

    id: int
    kind: str = Field(description="reload_models or clear_stuck_decisions.")
    status: str = Field(description="asked, claimed or answered.")
    created_at: Time
    answered_at: Time | None
    answer: dict[str, Any] | None = Field(description="Result of the operator; contains `error` when it failed.")


class Accepted(ResponseModel):
    """The command has no result yet."""

    command: int = Field(description="Id of the command.")
    location: str = Field(description="Path of the command, which will hold the result.")
    message: str = Field(description="Why there is no result yet.")


@router.get("/{id}", responses=responses(404))
async def show_command(
    id: Annotated[int, Path(ge=1, le=_MAX_ID, description="Id of the command.")],  # noqa: A002 (the path's name)
    _: Annotated[QueryModel, Query()],
    services: Use,
) -> CommandStatus:
    """Return the status of a command."""
    command = await services.commands.by_id(id)
    if command is None:
        raise HTTPException(404, f"command {id} does not exist")
    return CommandStatus.model_validate(command)


async def run_command(services: Services, kind: str, respond: Callable[[Mapping[str, Any]], Response]) -> Response:
    """Send a command, wait, and return its result. Raises OperatorFailedError.

    Returns 202 when there is no result in time, after _NO_LEADER_WAIT_SECONDS when no operator leads: the next leader
    executes the command.
    """
    commands, limit = services.commands, services.command_limit_seconds
    number = await commands.submit(kind, {}, services.clock.now())
    answer = await commands.wait(number, min(limit, _NO_LEADER_WAIT_SECONDS))
    has_leader = answer is not None or await commands.has_listener()
    if answer is None and has_leader and limit > _NO_LEADER_WAIT_SECONDS:
        answer = await commands.wait(number, limit - _NO_LEADER_WAIT_SECONDS)
    if answer is None:
        location = f"{API_V1}/commands/{number}"
        message = (
            "the operator has not responded yet" if has_leader else "no operator leads; the next leader executes it"
        )
        accepted = Accepted(command=number, location=location, message=message)
        return JSONResponse(accepted.model_dump(), 202, headers={"Location": location, "Retry-After": "5"})
    if "error" in answer:
        raise OperatorFailedError(f"the operator failed to execute {kind}: {answer['error']}")
    try:
        return respond(answer)
    except (ValidationError, TypeError):
        raise OperatorFailedError(
            f"the operator's result of {kind} has the format of another release; upgrade both"
        ) from None
