"""The port to the demand that was recorded."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from forecasting.series import Series
from predictive_scaling.training.series_keys import SeriesKey


class DemandHistory(Protocol):
    """Where the trainer reads demand."""

    async def keys(self, since: datetime) -> Sequence[SeriesKey]:
        """Every series that somebody scales by, or that has demand since then; sorted."""
        ...

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        """The mean demand of each bin in [start, end), NaN where nothing was observed."""
        ...
