"""How good forecasts were, once their time had come."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from predictive_scaling.api.fields import Answer, Name, Number, Question, Window
from predictive_scaling.api.services import Use

router = APIRouter(prefix="/metrics", tags=["accuracy"])

Coverage = Annotated[
    Mapping[str, Number],
    Field(description="By quantile: the share of target times at or below it; 0.9 is right at 0.9."),
]


class AccuracyFilter(Question):
    """Of what."""

    window: Annotated[Window, Field(description="How far back from now, such as 24h or 7d.")] = timedelta(hours=24)
    service: Annotated[Name | None, Field(description="Only this service.")] = None


class ServiceAccuracy(Answer):
    """The newest scores of one policy's model."""

    service_name: str
    model_name: str
    mape: Number
    wape: Number
    coverage: Coverage


class Accuracy(Answer):
    """Ratios; null: nothing was scored in the window."""

    window: Window
    mape: Number = Field(description="Mean absolute error in relation to each actual.")
    wape: Number = Field(description="Sum of absolute errors over the sum of actuals.")
    bias: Number = Field(description="Sum of errors over the sum of actuals; above 0: too high.")
    coverage: Coverage
    samples: int = Field(description="Target times that were scored.")
    services: list[ServiceAccuracy]


class AccuracyAnswer(Answer):
    """Scores of forecasts made a lead time ahead."""

    accuracy: Accuracy


@router.get("/accuracy")
async def show_accuracy(question: Annotated[AccuracyFilter, Query()], services: Use) -> AccuracyAnswer:
    """Scores over a window before now, all together and by service."""
    since = services.clock.now() - question.window
    whole = await services.performances.accuracy(since, question.service)
    newest = await services.performances.latest(since, question.service)
    return AccuracyAnswer(
        accuracy=Accuracy(
            window=question.window,
            mape=whole.mape,
            wape=whole.wape,
            bias=whole.bias,
            coverage={"0.9": whole.coverage},
            samples=whole.samples,
            services=[
                ServiceAccuracy(
                    service_name=row.service_name,
                    model_name=row.model_name,
                    mape=row.mape,
                    wape=row.wape,
                    coverage={"0.9": row.coverage},
                )
                for row in newest
            ],
        )
    )
