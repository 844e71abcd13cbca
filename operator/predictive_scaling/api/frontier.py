"""The frontier of a policy: under-provisioning versus replica-hours, over quantiles and HPA targets."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import Field

from forecasting.scaling.frontier import Point, efficient
from predictive_scaling.api.fields import Name, Number, QueryModel, ResponseModel, Time
from predictive_scaling.api.problems import responses
from predictive_scaling.api.services import Use
from predictive_scaling.storage.tunings import TuningRow

router = APIRouter(prefix="/policies", tags=["policies"])


class Cost(ResponseModel):
    """The cost of a setting over the tuning window."""

    under_provisioned_share: Number = Field(description="Share of the time with too few ready replicas.")
    under_provisioned_minutes: Number
    lost_demand_share: Number = Field(description="Share of the demand above the ready capacity.")
    replica_hours: Number


class Setting(Cost):
    """The cost of a quantile of the floor combined with a target utilization of the HPA."""

    quantile: Number
    hpa_target: Number = Field(description="As a ratio.")
    in_use: bool = Field(description="Whether this is the policy's quantile and the HPA's current target.")
    recommended: bool = Field(description="Whether this is the policy's quantile and the recommended target.")
    efficient: bool = Field(description="Whether no other setting has less under-provisioning at fewer replica-hours.")


class Prices(ResponseModel):
    """Prices of the policy's `forecast.objective`, in the same currency."""

    under_provisioned_minute: Number
    replica_hour: Number


class Frontier(ResponseModel):
    """The result of the newest tuning run of a policy."""

    namespace: str
    policy: str
    tuned_at: Time
    since: Time
    until: Time
    prices: Prices | None = Field(description="Null when the policy sets a quantile.")
    quantile: Number = Field(description="Quantile of peak demand that the floor covers.")
    hpa_target: Number = Field(description="Current target utilization of the HPA, as a ratio.")
    advised_hpa_target: Number
    replica_hours_saved: Number = Field(
        description="Replica-hours that the recommended target would have saved in the window."
    )
    message: str = Field(description="Recommendation in one sentence.")
    recorded_share: Number = Field(
        description="Share of the forecasts that were made live; a naive model replaces the others."
    )
    hpa_only: Cost = Field(description="Cost of the HPA at its current target without the policy.")
    points: list[Setting] = Field(description="Settings by quantile and target.")


@router.get("/{namespace}/{name}/frontier", responses=responses(404))
async def show_frontier(
    namespace: Annotated[Name, Path(description="Namespace of the policy.")],
    name: Annotated[Name, Path(description="Name of the policy.")],
    _: Annotated[QueryModel, Query()],
    services: Use,
) -> Frontier:
    """Return the frontier of a policy, with the current and the recommended setting marked."""
    row = await services.tunings.of(namespace, name)
    if row is None:
        raise HTTPException(
            404,
            f"policy {namespace}/{name} has no tuning result; tuning needs a policy with decisions, two days of "
            "demand and a known demand per replica",
        )
    return _frontier(row)


def _frontier(row: TuningRow) -> Frontier:
    minute, hour = row.under_provisioned_minute, row.replica_hour
    points = [_point(values) for values in row.points]
    return Frontier(
        namespace=row.namespace,
        policy=row.policy,
        tuned_at=row.tuned_at,
        since=row.since,
        until=row.until,
        prices=None if minute is None or hour is None else Prices(under_provisioned_minute=minute, replica_hour=hour),
        quantile=row.quantile,
        hpa_target=row.hpa_target,
        advised_hpa_target=row.advised_target,
        replica_hours_saved=row.hours_saved,
        message=row.message,
        recorded_share=row.recorded_share,
        hpa_only=_cost(_point(row.alone)),
        points=_settings(points, row),
    )


def _settings(points: Sequence[Point], row: TuningRow) -> list[Setting]:
    efficient_points = set(efficient(points))
    return [
        Setting(
            **_cost(point).model_dump(),
            quantile=point.quantile,
            hpa_target=point.hpa_target,
            in_use=(point.quantile, point.hpa_target) == (row.quantile, row.hpa_target),
            recommended=(point.quantile, point.hpa_target) == (row.quantile, row.advised_target),
            efficient=point in efficient_points,
        )
        for point in sorted(points, key=lambda point: (point.quantile, point.hpa_target))
    ]


def _cost(point: Point) -> Cost:
    return Cost(
        under_provisioned_share=point.under_provisioned_share,
        under_provisioned_minutes=point.minutes,
        lost_demand_share=point.lost_demand_share,
        replica_hours=point.replica_hours,
    )


def _point(values: Sequence[float]) -> Point:
    return Point(*map(float, values))
