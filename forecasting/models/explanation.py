"""The reasons of a forecast in words: the feature families that moved it most."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from forecasting.features import FEATURES

if TYPE_CHECKING:
    from lightgbm import Booster

_MAX_REASONS = 3
_MIN_SHARE = 0.005


class Reasons(Sequence[str]):
    """Reasons that are computed when they are first read: they cost more than the forecast, and few are ever read.

    compute: returns the reasons; called at most once.
    """

    def __init__(self, compute: Callable[[], tuple[str, ...]]) -> None:
        self._compute: Callable[[], tuple[str, ...]] | None = compute
        self._computed: tuple[str, ...] = ()

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> tuple[str, ...]:
        compute = self._compute
        if compute is not None:
            self._computed = compute()
            # Release the model that the closure holds.
            self._compute = None
        return self._computed


def reasons(
    booster: "Booster", row: np.ndarray[tuple[int, int], np.dtype[np.float32]], columns: tuple[int, ...]
) -> tuple[str, ...]:
    """Return up to three feature families for one row of features, the one with the largest effect first.

    The share is the effect of a family on the forecast, relative to the mean of the training data (Lundberg and Lee, A
    unified approach to interpreting model predictions, 2017; exact for trees).
    """
    shares = np.asarray(booster.predict(row, pred_contrib=True, num_threads=1))[0, :-1]
    summed: dict[str, float] = {}
    for column, share in zip(columns, shares, strict=True):
        family = FEATURES[column].family
        summed[family] = summed.get(family, 0.0) + float(share)
    strongest = sorted(summed.items(), key=lambda entry: -abs(entry[1]))[:_MAX_REASONS]
    return tuple(f"{family} ({np.expm1(share):+.0%})" for family, share in strongest if abs(share) >= _MIN_SHARE)
