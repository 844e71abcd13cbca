"""Why a model forecasts what it forecasts, in words."""

from collections.abc import Callable, Sequence
from typing import overload

import lightgbm as lgb
import numpy as np

from forecasting.features import FEATURES

_MOST = 3
_LEAST = 0.005


class Reasons(Sequence[str]):
    """Reasons that are found when someone reads them: they cost more than the forecast, and few forecasts are told of.

    find: gives them; called once at most, by whoever reads first.
    """

    def __init__(self, find: Callable[[], tuple[str, ...]]) -> None:
        self._find: Callable[[], tuple[str, ...]] | None = find
        self._found: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> tuple[str, ...]:
        find = self._find
        if find is not None:
            self._found = find()
            # The model that found them need not stay in memory.
            self._find = None
        return self._found


def reasons(
    booster: lgb.Booster, row: np.ndarray[tuple[int, int], np.dtype[np.float32]], columns: tuple[int, ...]
) -> tuple[str, ...]:
    """Up to three feature families for one row, the one that moved the forecast furthest first.

    The share is what a family does to the forecast, relative to the mean of what the model learned from (Lundberg and
    Lee, A unified approach to interpreting model predictions, 2017; exact for trees).
    """
    shares = np.asarray(booster.predict(row, pred_contrib=True, num_threads=1))[0, :-1]
    summed: dict[str, float] = {}
    for column, share in zip(columns, shares, strict=True):
        family = FEATURES[column].family
        summed[family] = summed.get(family, 0.0) + float(share)
    strongest = sorted(summed.items(), key=lambda one: -abs(one[1]))[:_MOST]
    return tuple(f"{family} ({np.expm1(share):+.0%})" for family, share in strongest if abs(share) >= _LEAST)
