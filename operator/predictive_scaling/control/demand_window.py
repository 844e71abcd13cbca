"""The demand of the last days in memory, minute by minute, for every series that a policy scales by."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import numpy.typing as npt
import structlog

from forecasting.binning import binned_to_last_value
from forecasting.cleaning.outliers import BoolArray, find_outliers, usable_demand
from forecasting.series import Outlier, Series
from predictive_scaling.decision.inputs import Demand
from predictive_scaling.resources.series_key import SeriesKey

MINUTE = timedelta(minutes=1)
BIN = timedelta(minutes=5)
HISTORY = timedelta(days=8, hours=1)
"""A week and a day: the history that the models use."""

_KEYS_A_QUERY = 50
_REREAD_EACH_TICK = timedelta(minutes=5)
_REREAD_SOMETIMES = timedelta(hours=2)
_SOMETIMES = timedelta(minutes=10)
_ANEW = timedelta(hours=6)
"""After this time a series is loaded as if it were new: history may have been filled in."""
_ANEW_FIRST = timedelta(minutes=2)
"""The same, while the history is shorter than it could be: `ingest` may be reading it from a source. The time doubles
with each load, because most series without a long history are just new."""
_FIRST_MINUTES = 120
"""The first minutes of a series are judged by those that follow: until there are so many, all are judged again."""
_NEWEST_MINUTES = 120
"""The newest demand is searched in the last minutes first."""

_NEVER = datetime(1, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)

Minutes = npt.NDArray[np.float32]


class DemandSource(Protocol):
    """Where minutes of demand are read."""

    async def minutes(
        self, keys: Sequence[SeriesKey], since: datetime, until: datetime
    ) -> dict[SeriesKey, npt.NDArray[np.float64]]:
        """The demand of each key in every minute of [since, until); NaN where there was no sample."""
        ...


@dataclass(slots=True)
class _Past:
    """One series: values[i] is the minute that begins at start + i minutes, outliers[i] whether it is set aside."""

    start: datetime
    values: Minutes
    loaded_at: datetime
    outliers: BoolArray = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    load_again_after: timedelta = _ANEW_FIRST / 2  # doubled by the first load

    def loaded(self, at: datetime) -> None:
        """Record a load of the whole history, and decide when it is loaded again."""
        observed = np.flatnonzero(np.isfinite(self.values))
        is_complete = len(observed) > 0 and observed[0] * MINUTE <= _REREAD_SOMETIMES
        self.loaded_at = at
        self.load_again_after = _ANEW if is_complete else min(_ANEW, 2 * self.load_again_after)

    def put(self, start: datetime, values: npt.NDArray[np.float64]) -> None:
        """Overwrite from `start` on; what was read later counts."""
        offset = (start - self.start) // MINUTE
        needed = offset + len(values)
        if needed > len(self.values):
            grown = np.full(needed, np.nan, dtype=np.float32)
            grown[: len(self.values)] = self.values
            self.values = grown
        self.values[offset:needed] = usable_demand(values)
        since = min(offset, len(self.outliers)) if offset > _FIRST_MINUTES else 0
        judged = find_outliers(self.values, MINUTE, since, judge_first=not since)
        self.outliers = np.concatenate([self.outliers[:since], judged[since:]])

    def end_at(self, end: datetime) -> None:
        """Drop what is from `end` on, and have the series loaded again at the next pass."""
        bins = max(0, (end - self.start) // MINUTE)
        self.values, self.outliers, self.loaded_at = self.values[:bins], self.outliers[:bins], _NEVER

    def cut(self, oldest: datetime) -> None:
        """Drop what is older than `oldest`."""
        surplus = (oldest - self.start) // MINUTE
        if surplus > len(self.values) // 8:
            self.values, self.outliers = self.values[surplus:].copy(), self.outliers[surplus:].copy()
            self.start += surplus * MINUTE


class DemandWindow:
    """Loads a series once, then reads only its newest minutes. Late rows are read at the next re-read.

    Minutes that are out of all proportion to those before them are set aside (cleaning.outliers): whoever reads
    demand here finds gaps in their place.
    """

    def __init__(self, source: DemandSource, history: timedelta = HISTORY) -> None:
        self._source = source
        self._history = history
        self._past: dict[SeriesKey, _Past] = {}
        self._read_until: datetime | None = None
        self._reread_at: datetime | None = None

    async def advance(self, keys: Collection[SeriesKey], now: datetime) -> None:
        """Read demand of these keys up to `now`, and drop all other keys.

        Raises DatabaseUnavailableError; what was read before stays.
        """
        until = whole_minute(now)
        self._notice_step(until)
        for gone in self._past.keys() - set(keys):
            del self._past[gone]
        loaded = [key for key in keys if key in self._past]
        if loaded and self._read_until is not None and until > self._read_until - _REREAD_EACH_TICK:
            await self._read(loaded, self._since(until), until)
            self._reread_at = until if self._is_due(until) else self._reread_at
        self._read_until = until
        new = [
            key
            for key in keys
            if key not in self._past or until - self._past[key].loaded_at >= self._past[key].load_again_after
        ]
        for begin in range(0, len(new), _KEYS_A_QUERY):
            some = new[begin : begin + _KEYS_A_QUERY]
            await self._read(some, until - self._history, until)
            for key in some:
                self._past[key].loaded(until)

    def series(
        self, key: SeriesKey, *, until: datetime | None = None, step: timedelta = BIN, zero_is_valid: bool = False
    ) -> Series | None:
        """Return demand in bins of full minutes; the last bin ends with the newest observed minute (before `until`).

        None without observations. An exact zero counts as missing unless it is valid.
        """
        past = self._past.get(key)
        if past is None:
            return None
        bins = len(past.values) if until is None else max(0, (whole_minute(until) - past.start) // MINUTE)
        return binned(
            str(key), past.start, past.values[:bins], step, zero_is_valid=zero_is_valid, set_aside=past.outliers[:bins]
        )

    def newest(self, key: SeriesKey, *, zero_is_valid: bool = False) -> Demand | None:
        """The newest minute that was observed; None where there is none."""
        past = self._past.get(key)
        if past is None:
            return None
        # It is nearly always among the last minutes, and each decision asks for it.
        for begin in (max(0, len(past.values) - _NEWEST_MINUTES), 0):
            values, outliers = past.values[begin:], past.outliers[begin:]
            observed_at = np.flatnonzero(_observed(values, zero_is_valid) & ~outliers)
            if len(observed_at):
                last = int(observed_at[-1])
                return Demand(float(values[last]), past.start + (begin + last + 1) * MINUTE)
        return None

    def outlier(self, key: SeriesKey, since: datetime, *, zero_is_valid: bool = False) -> Outlier | None:
        """The newest minute that was set aside since then; None where there is none."""
        past = self._past.get(key)
        if past is None:
            return None
        first = max(0, (since - past.start) // MINUTE)
        positions = np.flatnonzero(past.outliers[first:] & _observed(past.values[first:], zero_is_valid)) + first
        if not len(positions):
            return None
        return Outlier(past.start + int(positions[-1]) * MINUTE, float(past.values[positions[-1]]))

    def minutes(self, key: SeriesKey, since: datetime, until: datetime) -> npt.NDArray[np.float64]:
        """Demand of every minute of [since, until); NaN where it is missing."""
        past, values = self._past.get(key), np.full(max(0, (until - since) // MINUTE), np.nan)
        if past is None:
            return values
        offset = (since - past.start) // MINUTE
        begin, end = max(0, offset), min(len(past.values), offset + len(values))
        if end > begin:
            values[begin - offset : end - offset] = np.where(past.outliers[begin:end], np.nan, past.values[begin:end])
        return values

    def observed(self, key: SeriesKey) -> timedelta:
        """Return the time from the first to the newest observed minute; zero without observations."""
        past = self._past.get(key)
        observed_at = np.flatnonzero(np.isfinite(past.values)) if past else np.empty(0)
        return MINUTE * int(observed_at[-1] - observed_at[0] + 1) if len(observed_at) else timedelta()

    def _notice_step(self, until: datetime) -> None:
        """After the clock was stepped back: drop the minutes that have not come yet, and load every series again."""
        if self._read_until is None or until > self._read_until - _REREAD_EACH_TICK:
            return
        log.warning("clock_stepped_back", by_seconds=(self._read_until - until).total_seconds())
        for past in self._past.values():
            past.end_at(until)
        self._read_until = self._reread_at = None

    def _since(self, until: datetime) -> datetime:
        read_until = self._read_until or until
        back = _REREAD_SOMETIMES if self._is_due(until) else _REREAD_EACH_TICK
        return min(read_until, until) - back

    def _is_due(self, until: datetime) -> bool:
        return self._reread_at is None or until - self._reread_at >= _SOMETIMES

    async def _read(self, keys: Sequence[SeriesKey], since: datetime, until: datetime) -> None:
        for key, values in (await self._source.minutes(keys, since, until)).items():
            past = self._past.get(key)
            if past is None or since < past.start:
                past = self._past[key] = _Past(since, np.empty(0, dtype=np.float32), until)
            past.put(since, values)
            past.cut(until - self._history)


def binned(
    name: str,
    start: datetime,
    minutes: Minutes,
    step: timedelta = BIN,
    *,
    zero_is_valid: bool = False,
    set_aside: BoolArray | None = None,
) -> Series | None:
    """Bins that end with the last observed minute; NaN where a bin has none; None where no bin is full.

    set_aside: whether each minute is an outlier; None if outliers were not searched for.
    """
    observed = _observed(minutes, zero_is_valid)
    known = None
    if set_aside is not None:
        wrong = np.flatnonzero(set_aside & observed)
        known = tuple(Outlier(start + int(at) * MINUTE, float(minutes[at])) for at in wrong)
        observed &= ~set_aside
    clean = np.where(observed, minutes, np.nan).astype(np.float64)
    series = binned_to_last_value(Series(name, start, MINUTE, clean, outliers=known), step)
    return series if len(series.values) else None


def whole_minute(moment: datetime) -> datetime:
    """The beginning of the minute of `moment`."""
    return moment.replace(second=0, microsecond=0)


def _observed(minutes: Minutes, zero_is_valid: bool) -> npt.NDArray[np.bool_]:
    finite = np.isfinite(minutes) & (minutes >= 0)
    return finite if zero_is_valid else finite & (minutes > 0)
