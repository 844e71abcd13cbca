"""The accuracy of past forecasts."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from predictive_scaling.api.fields import DEFAULT_WINDOW, Name, NamespaceQuery, Number, ResponseModel, Window
from predictive_scaling.api.services import Use
from predictive_scaling.api.visible_namespaces import VisibleNamespaces
from predictive_scaling.resources.quantities import format_duration
from predictive_scaling.storage.model_performance import total

router = APIRouter(prefix="/metrics", tags=["accuracy"])

Coverage = Annotated[
    Mapping[str, Number],
    Field(description="By quantile: share of target times with demand at or below it; the ideal for 0.9 is 0.9."),
]


class AccuracyFilter(NamespaceQuery):
    """Parameters of the accuracy."""

    window: Annotated[
        Window,
        Field(
            default_factory=lambda: DEFAULT_WINDOW,
            description="Length of the window before now, such as 24h or 7d.",
            json_schema_extra={"default": format_duration(DEFAULT_WINDOW)},
        ),
    ]
    service: Annotated[Name | None, Field(description="Only this service.")] = None


class ServiceAccuracy(ResponseModel):
    """The accuracy of a service's forecasts, over all of its visible policies."""

    service_name: str
    model_name: str = Field(description="Model of the newest forecasts.")
    mape: Number
    wape: Number
    coverage: Coverage


class Accuracy(ResponseModel):
    """Ratios of sums over exactly the window; null when it has no scored forecasts."""

    window: Window
    mape: Number = Field(description="Mean absolute error relative to the actual value.")
    wape: Number = Field(description="Sum of absolute errors over the sum of actuals.")
    bias: Number = Field(description="Sum of errors over the sum of actuals; positive when forecasts are too high.")
    coverage: Coverage
    samples: int = Field(description="Number of scored target times.")
    services: list[ServiceAccuracy]


class AccuracyResponse(ResponseModel):
    """Accuracy of forecasts made one lead time ahead."""

    accuracy: Accuracy


@router.get("/accuracy")
async def show_accuracy(
    query: Annotated[AccuracyFilter, Query()], services: Use, visible: VisibleNamespaces
) -> AccuracyResponse:
    """Return accuracy ratios over a window before now, for all visible policies together and by service."""
    visible = visible.within(query.namespace)
    now = services.clock.now()
    by_service = await services.performances.by_service(
        now - query.window, now, query.service, visible.namespaces, visible.readable
    )
    totals = total(service.sums for service in by_service)
    return AccuracyResponse(
        accuracy=Accuracy(
            window=query.window,
            mape=totals.mape,
            wape=totals.wape,
            bias=totals.bias,
            coverage=totals.coverage,
            samples=totals.samples,
            services=[
                ServiceAccuracy(
                    service_name=service.service_name,
                    model_name=service.model_name,
                    mape=service.sums.mape,
                    wape=service.sums.wape,
                    coverage=service.sums.coverage,
                )
                for service in by_service
            ],
        )
    )
