"""A leading indicator as a policy names it: a series that may run ahead of the policy's demand."""

from datetime import timedelta
from typing import Annotated

from predictive_scaling.resources.matching import Matching
from predictive_scaling.resources.part import Part
from predictive_scaling.resources.quantities import DurationBetween
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation

MAX_REGRESSORS = 5

SeriesName = Annotated[str, Matching(r"^[^\x00-\x1f\x7f]+$", "must not contain control characters", max_length=253)]


def is_empty(regressors: tuple[object, ...]) -> bool:
    """Return whether a list of regressors is left out of a manifest."""
    return not regressors


class Regressor(Part):
    """A series that may run ahead of demand."""

    service: SeriesName
    """service_name of its samples, such as the upstream service."""

    metric: SeriesName
    """metric_name of its samples, such as requests_per_second."""

    aggregation: Aggregation = Aggregation.SUM
    """How its series are combined in each minute: Sum, Mean or Max."""

    max_lag: Annotated[timedelta, DurationBetween("5m", "3h")] = timedelta(minutes=30)
    """Longest time by which it may run ahead, from 5m to 3h. The time by which it does is found."""

    @property
    def key(self) -> SeriesKey:
        """The series."""
        return SeriesKey(self.service, self.metric, self.aggregation.value)
