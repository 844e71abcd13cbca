"""What each occurrence of a BusinessEvent did to demand, as the models measured it, in the table of occurrences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from typing import Protocol

import structlog

from predictive_scaling.clock import Clock
from predictive_scaling.cluster.informer_cache import InformerCache
from predictive_scaling.control.current_forecasts import EffectsOf, series_key
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.storage.business_events import BusinessEventRow, LearnedOccurrence

log = structlog.get_logger(__name__)

EVERY = timedelta(minutes=15)
_LOOK_BACK = timedelta(days=400)
_DECIMALS = 4
_MAX_AMPLITUDE = 50.0
"""The logarithm of a factor that is larger than any."""


class OccurrenceTable(Protocol):
    """The part of storage.BusinessEvents that is used here."""

    async def between(self, since: datetime, until: datetime) -> Sequence[BusinessEventRow]:
        """Occurrences that touch [since, until)."""
        ...

    async def record_learned(self, learned: Sequence[LearnedOccurrence]) -> None:
        """Record what occurrences did, where that changed."""
        ...


@dataclass(slots=True)
class EventEffects:
    """Records `learned_multiplier` of past occurrences: demand during each, over what was expected without it."""

    cache: InformerCache
    table: OccurrenceTable
    effects: EffectsOf
    clock: Clock

    async def run(self) -> None:
        """One pass over the occurrences of the last 400 days. Raises DatabaseUnavailableError."""
        now = self.clock.now()
        series: dict[tuple[str, str], SeriesKey] = {
            (record.key.namespace, record.key.name): series_key(record.policy)
            for record in self.cache.policies()
            if record.policy is not None
        }
        amplitudes = {key: self._amplitudes(key) for key in set(series.values())}
        if not any(amplitudes.values()):
            return
        past = [row for row in await self.table.between(now - _LOOK_BACK, now) if row.end_time <= now]
        learned = [effect for row in past if (effect := _learned(row, series, amplitudes)) is not None]
        if learned:
            await self.table.record_learned(learned)

    def _amplitudes(self, key: SeriesKey) -> dict[tuple[str, float, float], float]:
        """Return the measured amplitude of each event on a series, by type, start and end in epoch seconds."""
        try:
            effects = self.effects(key)
        except Exception:  # a model that cannot be read affects only the events of its own series
            log.exception("event_effects_not_read", series=str(key))
            return {}
        types = effects.types if effects is not None else ()
        return {
            (event_type.type, event.start, event.end): event.amplitude
            for event_type in types
            for event in event_type.measured
        }


def _learned(
    row: BusinessEventRow,
    series: Mapping[tuple[str, str], SeriesKey],
    amplitudes: Mapping[SeriesKey, Mapping[tuple[str, float, float], float]],
) -> LearnedOccurrence | None:
    """Return the mean factor over the series of the matched policies; None if no factor was measured."""
    if row.type is None:
        return None
    measured = (row.type, row.start_time.timestamp(), row.end_time.timestamp())
    keys = {series[row.namespace, policy] for policy in row.policies if (row.namespace, policy) in series}
    factors = [amplitudes[key][measured] for key in keys if measured in amplitudes[key]]
    if not factors:
        return None
    multiplier = math.exp(max(-_MAX_AMPLITUDE, min(_MAX_AMPLITUDE, fmean(factors))))
    return LearnedOccurrence(row.namespace, row.name, row.start_time, round(multiplier, _DECIMALS))
