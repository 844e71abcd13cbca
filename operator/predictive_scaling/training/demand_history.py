"""Which business events have acted on a series, and of what types."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from forecasting.binning import bin_means
from forecasting.cleaning.outliers import without_outliers
from forecasting.context import NOTHING_KNOWN, Context, KnownEvent
from forecasting.series import Series
from predictive_scaling.decision.forecast_context import calendar_context
from predictive_scaling.errors import SettingsError
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.demand import Demand, DemandKey
from predictive_scaling.storage.policies import Policies, PolicyRow


class PastEvents(Protocol):
    """The part of storage.BusinessEvents that is read here."""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        """Occurrences that touch [since, until), by start."""
        ...


def event_types(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Types of the occurrences that one of the policies (namespace, name) was matched by."""
    return frozenset(row.type for row in _matched(rows, policies) if row.type is not None)


def known_events(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> tuple[KnownEvent, ...]:
    """The same occurrences as forecasts know them; those without a type teach nothing."""
    return tuple(
        KnownEvent(row.type, row.start_time, row.end_time, row.multiplier)
        for row in _matched(rows, policies)
        if row.type is not None and row.start_time < row.end_time
    )


def _matched(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> list[BusinessEventRow]:
    wanted = set(policies)
    return [row for row in rows if any((row.namespace, name) in wanted for name in row.policies)]


MINUTE = timedelta(minutes=1)


class DemandHistory(Protocol):
    """Where the trainer reads demand."""

    async def keys(self, since: datetime) -> Sequence[SeriesKey]:
        """Every series that somebody scales by; where nobody does, every series with demand since then. Sorted."""
        ...

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        """The mean demand of each bin within [start, end), the bins ending at `end`; NaN where nothing was observed."""
        ...

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        """Types of the business events that touched [start, end) and acted on a policy that scales by the series."""
        ...


class StoredHistory:
    """A DemandHistory over the tables `policies`, `series`, `metrics_1m` and `business_events`.

    events: where business events are read; without it no series is known to have had any.
    zero_is_valid: otherwise an exact zero is a missing minute, as the operator reads it.
    """

    def __init__(
        self,
        demand: Demand,
        policies: Policies,
        events: PastEvents | None = None,
        *,
        zero_is_valid: bool = False,
    ) -> None:
        self._demand = demand
        self._policies = policies
        self._events = events
        self._zero_is_valid = zero_is_valid

    async def keys(self, since: datetime) -> Sequence[SeriesKey]:
        rows = await self._policies.all()
        if rows:
            return sorted({key for row in rows if (key := _key(row)) is not None})
        return sorted(SeriesKey(*key) for key in await self._demand.recorded(since))

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        wanted = DemandKey(key.service, key.metric, _aggregation(key.aggregation))
        whole = end.astimezone(UTC).replace(second=0, microsecond=0)
        bins = (whole - start) // step
        minutes = (await self._demand.minutes([wanted], whole - bins * step, whole))[wanted]
        clean = minutes if self._zero_is_valid else np.where(minutes > 0, minutes, np.nan)
        begin = whole - bins * step
        by_minute = without_outliers(Series(str(key), begin, MINUTE, clean), first_too=True)
        values = bin_means(by_minute.values, step // MINUTE)
        context = replace(await self._place(key), events=await self._known(key, begin, whole))
        return trimmed(Series(str(key), begin, step, values, context, by_minute.outliers))

    async def _known(self, key: SeriesKey, start: datetime, end: datetime) -> tuple[KnownEvent, ...]:
        if self._events is None:
            return ()
        return known_events(await self._events.between(start, end), await self._ours(key))

    async def _place(self, key: SeriesKey) -> Context:
        """Of the first of its policies that says where its demand comes from."""
        told = next((row for row in await self._scaling_by(key) if row.timezone or row.holidays), None)
        return calendar_context(told.timezone, told.holidays) if told else NOTHING_KNOWN

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        if self._events is None:
            return frozenset()
        return event_types(await self._events.between(start, end), await self._ours(key))

    async def _ours(self, key: SeriesKey) -> list[tuple[str, str]]:
        """The policies that scale by a series, by namespace and name."""
        return [(row.namespace, row.policy) for row in await self._scaling_by(key)]

    async def _scaling_by(self, key: SeriesKey) -> list[PolicyRow]:
        rows = await self._policies.all(key.service)
        return [row for row in rows if (row.metric_name, row.aggregation) == (key.metric, key.aggregation)]


def _key(row: PolicyRow) -> SeriesKey | None:
    """The demand that a policy scales by; None for a policy that cannot be read."""
    if row.service_name is None or row.metric_name is None or row.aggregation is None:
        return None
    return SeriesKey(row.service_name, row.metric_name, row.aggregation)


def trimmed(series: Series) -> Series:
    """From the first bin with demand to the last; an empty series stays empty."""
    seen = np.flatnonzero(np.isfinite(series.values))
    if not len(seen):
        return replace(series, values=series.values[:0], context=NOTHING_KNOWN)
    first, last = int(seen[0]), int(seen[-1]) + 1
    begin = series.start + first * series.step
    return replace(series, start=begin, values=series.values[first:last])


def _aggregation(name: str) -> Aggregation:
    try:
        return Aggregation(name)
    except ValueError:
        raise SettingsError(f"{name!r} is not an aggregation; use one of {', '.join(Aggregation)}") from None
