"""What safety costs a policy: too few replicas against replica-hours, over quantiles and over its HPA's target."""

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
    """What a setting would have come to over the days."""

    under_provisioned_share: Number = Field(description="Of the time, with too few ready replicas. A ratio.")
    under_provisioned_minutes: Number
    lost_demand_share: Number = Field(description="Of the demand, beyond what was ready. A ratio.")
    replica_hours: Number


class Setting(Cost):
    """A quantile of the floor with a target of the HPA."""

    quantile: Number
    hpa_target: Number = Field(description="A ratio.")
    in_use: bool = Field(description="The policy's quantile and its HPA's present target.")
    recommended: bool = Field(description="The policy's quantile and the target that is advised.")
    efficient: bool = Field(description="No other setting is short for less at fewer replica-hours.")


class Prices(ResponseModel):
    """Of the policy's `forecast.objective`, in one currency."""

    under_provisioned_minute: Number
    replica_hour: Number


class Frontier(ResponseModel):
    """From the newest look back on the policy's last days."""

    namespace: str
    policy: str
    tuned_at: Time
    since: Time
    until: Time
    prices: Prices | None = Field(description="Null where the policy states a quantile.")
    quantile: Number = Field(description="The quantile that the floor covers.")
    hpa_target: Number = Field(description="What the HPA aims at now. A ratio.")
    advised_hpa_target: Number
    replica_hours_saved: Number = Field(description="By the advised target, over the days.")
    message: str = Field(description="The advice in a sentence.")
    recorded_share: Number = Field(
        description="Of the forecasts, those that were made live; a naive model stands in for the others. A ratio."
    )
    hpa_only: Cost = Field(description="The HPA at its present target, without the policy.")
    points: list[Setting] = Field(description="By quantile and target.")


@router.get("/{namespace}/{name}/frontier", responses=responses(404))
async def show_frontier(
    namespace: Annotated[Name, Path(description="Of the policy.")],
    name: Annotated[Name, Path(description="Of the policy.")],
    _: Annotated[QueryModel, Query()],
    services: Use,
) -> Frontier:
    """The frontier of one policy, with the setting in use and the recommended one marked."""
    row = await services.tunings.of(namespace, name)
    if row is None:
        raise HTTPException(
            404,
            f"nothing has been looked back on for policy {namespace}/{name}; that takes a policy that decides, two "
            "days of demand, and a known demand per replica",
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
    best = set(efficient(points))
    return [
        Setting(
            **_cost(point).model_dump(),
            quantile=point.quantile,
            hpa_target=point.hpa_target,
            in_use=(point.quantile, point.hpa_target) == (row.quantile, row.hpa_target),
            recommended=(point.quantile, point.hpa_target) == (row.quantile, row.advised_target),
            efficient=point in best,
        )
        for point in sorted(points, key=lambda it: (it.quantile, it.hpa_target))
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
