"""Where a series is learned: the port, and the one in this process."""

import asyncio
from typing import Protocol

from forecasting.learning import Forerunner, Learned, learn
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.series import Series


class Learner(Protocol):
    """Runs `learning.learn` somewhere; what comes out is the same wherever that is."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, forerunner: Forerunner | None) -> Learned:
        """Learn, judge and give back."""
        ...


class InThread:
    """A thread of this process."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, forerunner: Forerunner | None) -> Learned:
        return await asyncio.to_thread(learn, series, settings, forerunner)
