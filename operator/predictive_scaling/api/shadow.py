"""What mode Auto would have done over the last seven days, against what happened: account, series and report."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import Field

from predictive_scaling.api.fields import Name, Number, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.responses import encode, json_response
from predictive_scaling.api.services import Services, Use
from predictive_scaling.api.shadow_report import report
from predictive_scaling.resources.shadow_status import SHADOW_WINDOW
from predictive_scaling.resources.statuses import parse_policy_status
from predictive_scaling.storage.shadow_hours import ShadowAccount, ShadowHour

router = APIRouter(prefix="/policies", tags=["policies"])

Namespace = Annotated[Name, Path(description="Namespace of the policy.")]
PolicyName = Annotated[Name, Path(description="Name of the policy.")]


class Difference(ResponseModel):
    """An hour in which mode Auto would have differed from what happened."""

    time: Time = Field(description="Beginning of the hour.")
    minutes_short_avoided: Number = Field(description="Negative where Auto would have been short for longer.")
    replica_hours_added: Number = Field(description="Negative where Auto would have used fewer.")


class Shadow(ResponseModel):
    """What mode Auto would have done over the last seven days, against what happened."""

    since: Time = Field(description="Beginning of the first hour of the account.")
    until: Time = Field(description="End of its last minute.")
    covered_hours: Number = Field(description="Hours with known demand, replicas and capacity; others are left out.")
    decisions: int = Field(description="Number of recommended decisions.")
    minutes_short: Number = Field(description="Minutes in which the ready replicas could not serve the demand.")
    minutes_short_avoided: Number = Field(description="Number of those minutes that Auto would have avoided.")
    replica_hours: Number = Field(description="Replica-hours of the target.")
    replica_hours_added: Number = Field(description="Replica-hours that Auto would have added.")
    largest: list[Difference] = Field(description="The three hours with the largest differences, largest first.")


class Hour(ResponseModel):
    """An hour of the account. The lists have an element for each minute; null where unknown or left out."""

    time: Time
    covered_minutes: int
    per_replica: Number = Field(description="Demand that one ready replica serves.")
    lead_time_seconds: Number = Field(description="From the raise of the floor to ready replicas.")
    minutes_short: Number
    auto_minutes_short: Number = Field(description="In mode Auto.")
    replica_hours: Number
    auto_replica_hours: Number = Field(description="In mode Auto.")
    demand: list[Number]
    replicas: list[int | None]
    ready: list[int | None]
    auto_replicas: list[int | None] = Field(description="Replicas that mode Auto would have had.")
    auto_ready: list[int | None] = Field(description="Replicas that would have been ready in mode Auto.")


class ShadowDetail(Shadow):
    """The account of a policy with its hours, oldest first."""

    namespace: str
    policy: str
    target: str
    hours: list[Hour]


@router.get("/{namespace}/{name}/shadow", responses=responses(404), response_model=ShadowDetail)
async def show_shadow(
    namespace: Namespace, name: PolicyName, _: Annotated[QueryModel, Query()], request: Request, services: Use
) -> Response:
    """Return what mode Auto would have done over the last seven days, minute by minute, and its sums."""
    account, hours = await _account(namespace, name, services)
    document = _fields(account) | {
        "namespace": namespace,
        "policy": name,
        "target": account.key.target,
        "hours": [_hour(hour) for hour in hours],
    }
    return json_response(request, encode(document))


@router.get("/{namespace}/{name}/shadow/report", responses=responses(404), response_class=HTMLResponse)
async def show_shadow_report(
    namespace: Namespace, name: PolicyName, _: Annotated[QueryModel, Query()], services: Use
) -> HTMLResponse:
    """Return the account as a page with its figures."""
    account, hours = await _account(namespace, name, services)
    return HTMLResponse(report(account, hours), headers={"Cache-Control": "private, no-cache"})


async def _account(namespace: str, name: str, services: Services) -> tuple[ShadowAccount, list[ShadowHour]]:
    since = services.clock.now() - SHADOW_WINDOW
    hours = await services.shadow_hours.of_policy(namespace, name, since)
    accounts = await services.shadow_hours.accounts([hours[-1].key], since) if hours else []
    if not accounts:
        raise HTTPException(
            404,
            f"policy {namespace}/{name} has no account of the last seven days; it begins a quarter of an hour after "
            "the first decision in mode Recommend, and needs demand and a known demand per replica",
        )
    return accounts[0], hours


def _fields(account: ShadowAccount) -> dict[str, Any]:
    return {
        "since": account.since,
        "until": account.until,
        "covered_hours": account.covered_minutes / 60,
        "decisions": account.decisions,
        "minutes_short": account.minutes_short,
        "minutes_short_avoided": account.minutes_short - account.auto_minutes_short,
        "replica_hours": account.replica_hours,
        "replica_hours_added": account.auto_replica_hours - account.replica_hours,
        "largest": [
            {
                "time": difference.since,
                "minutes_short_avoided": difference.minutes_short_avoided,
                "replica_hours_added": difference.replica_hours_added,
            }
            for difference in account.largest
        ],
    }


def _hour(hour: ShadowHour) -> dict[str, Any]:
    copied = (name for name in Hour.model_fields if name != "time")
    return {"time": hour.since, **{name: getattr(hour, name) for name in copied}}


def shadow_of_status(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the fields of Shadow from status.shadow as stored; None without an account."""
    shadow = parse_policy_status({"shadow": stored}).shadow if stored else None
    if shadow is None:
        return None
    sums = {name: getattr(shadow, name) for name in Shadow.model_fields if name != "largest"}
    differences = [{name: getattr(hour, name) for name in Difference.model_fields} for hour in shadow.largest]
    return sums | {"largest": differences}
