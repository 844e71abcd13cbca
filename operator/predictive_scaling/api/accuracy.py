"""How good forecasts were, once their time had come."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from predictive_scaling.api.fields import Name, Number, QueryModel, ResponseModel, Window
from predictive_scaling.api.services import Use
from predictive_scaling.storage.model_performance import total

router = APIRouter(prefix="/metrics", tags=["accuracy"])

Coverage = Annotated[
    Mapping[str, Number],
    Field(description="By quantile: the share of target times at or below it; 0.9 is right at 0.9."),
]


class AccuracyFilter(QueryModel):
    """Of what."""

    window: Annotated[Window, Field(description="How far back from now, such as 24h or 7d.")] = timedelta(hours=24)
    service: Annotated[Name | None, Field(description="Only this service.")] = None


class ServiceAccuracy(ResponseModel):
    """The scores of one service's forecasts, over all of its policies."""

    service_name: str
    model_name: str = Field(description="Of the newest forecasts.")
    mape: Number
    wape: Number
    coverage: Coverage


class Accuracy(ResponseModel):
    """Ratios of sums over exactly the window; null: nothing was scored in it."""

    window: Window
    mape: Number = Field(description="Mean absolute error in relation to each actual.")
    wape: Number = Field(description="Sum of absolute errors over the sum of actuals.")
    bias: Number = Field(description="Sum of errors over the sum of actuals; above 0: too high.")
    coverage: Coverage
    samples: int = Field(description="Target times that were scored.")
    services: list[ServiceAccuracy]


class AccuracyAnswer(ResponseModel):
    """Scores of forecasts made a lead time ahead."""

    accuracy: Accuracy


@router.get("/accuracy")
async def show_accuracy(question: Annotated[AccuracyFilter, Query()], services: Use) -> AccuracyAnswer:
    """Sums over a window before now, as ratios: of all services together and of each."""
    now = services.clock.now()
    by_service = await services.performances.by_service(now - question.window, now, question.service)
    whole = total(service.sums for service in by_service)
    return AccuracyAnswer(
        accuracy=Accuracy(
            window=question.window,
            mape=whole.mape,
            wape=whole.wape,
            bias=whole.bias,
            coverage=whole.coverage,
            samples=whole.samples,
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
