"""Demand and business events of a series, as training reads them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from forecasting.binning import bin_means
from forecasting.cleaning.outliers import without_outliers
from forecasting.context import EMPTY_CONTEXT, Context, KnownEvent
from forecasting.series import Series
from predictive_scaling.decision.forecast_context import calendar_context
from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.resources.vocabulary import Aggregation
from predictive_scaling.storage.business_events import BusinessEventRow
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.policies import Policies, PolicyRow


class PastEvents(Protocol):
    """The part of storage.BusinessEvents that training reads."""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        """Return the occurrences that overlap [since, until), by start."""
        ...


def event_types(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the types of the occurrences that select one of the policies (namespace, name)."""
    return frozenset(row.type for row in _matching(rows, policies) if row.type is not None)


def known_events(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> tuple[KnownEvent, ...]:
    """Return the same occurrences for forecasts, without those that have no type, as nothing is learned from them."""
    return tuple(
        KnownEvent(row.type, row.start_time, row.end_time, row.multiplier)
        for row in _matching(rows, policies)
        if row.type is not None and row.start_time < row.end_time
    )


def _matching(rows: Iterable[BusinessEventRow], policies: Iterable[tuple[str, str]]) -> list[BusinessEventRow]:
    names = set(policies)
    return [row for row in rows if any((row.namespace, name) in names for name in row.policies)]


MINUTE = timedelta(minutes=1)


class DemandHistory(Protocol):
    """The demand that the trainer reads."""

    async def keys(self, since: datetime) -> Sequence[SeriesKey]:
        """Return all series that policies scale by, sorted; without policies, all series with demand since then."""
        ...

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        """Return the mean demand of each bin within [start, end), aligned to `end`; NaN for bins without samples."""
        ...

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        """Return the types of the business events in [start, end) that acted on a policy of the series."""
        ...


class StoredHistory:
    """A DemandHistory over the tables `policies`, `series`, `metrics_1m` and `business_events`.

    events: the source of business events; None means no events. zero_is_valid: if False, an exact zero is a missing
    minute, as in the operator.
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
        return sorted(await self._demand.recorded(since))

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        _check_aggregation(key)
        last_minute = end.astimezone(UTC).replace(second=0, microsecond=0)
        bins = (last_minute - start) // step
        begin = last_minute - bins * step
        minutes = (await self._demand.minutes([key], begin, last_minute))[key]
        clean = minutes if self._zero_is_valid else np.where(minutes > 0, minutes, np.nan)
        by_minute = without_outliers(Series(str(key), begin, MINUTE, clean), judge_first=True)
        values = bin_means(by_minute.values, step // MINUTE)
        context = replace(await self._calendar(key), events=await self._known_events(key, begin, last_minute))
        return trimmed(Series(str(key), begin, step, values, context, by_minute.outliers))

    async def _known_events(self, key: SeriesKey, start: datetime, end: datetime) -> tuple[KnownEvent, ...]:
        if self._events is None:
            return ()
        return known_events(await self._events.between(start, end), await self._policy_names(key))

    async def _calendar(self, key: SeriesKey) -> Context:
        """Return the calendar of the first policy of the series that states a time zone or holidays."""
        row = next((row for row in await self._policies_of(key) if row.timezone or row.holidays), None)
        return calendar_context(row.timezone, row.holidays) if row else EMPTY_CONTEXT

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        if self._events is None:
            return frozenset()
        return event_types(await self._events.between(start, end), await self._policy_names(key))

    async def _policy_names(self, key: SeriesKey) -> list[tuple[str, str]]:
        """Return namespace and name of the policies that scale by a series."""
        return [(row.namespace, row.policy) for row in await self._policies_of(key)]

    async def _policies_of(self, key: SeriesKey) -> list[PolicyRow]:
        rows = await self._policies.all(key.service)
        return [row for row in rows if (row.metric_name, row.aggregation) == (key.metric, key.aggregation)]


def _key(row: PolicyRow) -> SeriesKey | None:
    """Return the series that a policy scales by; None for a policy that cannot be read."""
    if row.service_name is None or row.metric_name is None or row.aggregation is None:
        return None
    return SeriesKey(row.service_name, row.metric_name, row.aggregation)


def trimmed(series: Series) -> Series:
    """Return the series from its first observed bin to its last; without observed bins, an empty series."""
    observed = np.flatnonzero(np.isfinite(series.values))
    if not len(observed):
        return replace(series, values=series.values[:0], context=EMPTY_CONTEXT)
    first, end = int(observed[0]), int(observed[-1]) + 1
    begin = series.start + first * series.step
    return replace(series, start=begin, values=series.values[first:end])


def _check_aggregation(key: SeriesKey) -> None:
    if key.aggregation not in tuple(Aggregation):
        raise SettingsError(f"{key.aggregation!r} is not an aggregation; use one of {', '.join(Aggregation)}")
