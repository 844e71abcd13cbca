"""The recently active services, metrics and series, and their limits. Pure: no clock, no database.

Only members that were active around the day of a sample count. The pods of earlier rollouts stay in the database as
long as the rollups, but not in the register.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from predictive_scaling.storage.samples import SampleSeries

_DAY = timedelta(days=1)
REMEMBERED = 7 * _DAY
"""Time that inactive series are remembered, so that their late samples do not count as new series."""


class Limit(StrEnum):
    """The kinds of limits."""

    SERVICES = "services"
    METRICS = "metrics"
    SERIES = "series"


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """Maximum numbers of active members; metrics and series per service. window: how long a member stays active."""

    services: int
    metrics: int
    series: int
    window: timedelta = _DAY

    @property
    def days(self) -> int:
        """The window in full days, because the register stores days."""
        return max(1, math.ceil(self.window / _DAY))

    def of(self, limit: Limit) -> int:
        return {Limit.SERVICES: self.services, Limit.METRICS: self.metrics, Limit.SERIES: self.series}[limit]


@dataclass(slots=True)
class _Activity:
    """The last day of each member, and the number of members by last day."""

    last: dict[Hashable, date] = field(default_factory=dict[Hashable, date])
    counts: Counter[date] = field(default_factory=Counter[date])

    def note(self, member: Hashable, day: date) -> None:
        known = self.last.get(member)
        if known is None or day > known:
            if known is not None:
                self._uncount(known)
            self.last[member] = day
            self.counts[day] += 1

    def around(self, day: date, days: int) -> int:
        return sum(self.counts[day + offset * _DAY] for offset in range(-days, days + 1)) if self.counts else 0

    def forget_before(self, day: date) -> None:
        for member in [member for member, last in self.last.items() if last < day]:
            self._uncount(self.last.pop(member))

    def _uncount(self, day: date) -> None:
        self.counts[day] -= 1
        if not self.counts[day]:
            del self.counts[day]


Scope = tuple[Limit, str]
"""A limit and its service (empty for the limit on services)."""


@dataclass(slots=True)
class SeriesRegister:
    """The series of each service with their last active day, as written to the database."""

    limits: SeriesLimits
    _scopes: dict[Scope, _Activity] = field(default_factory=dict[Scope, _Activity])
    _loaded: set[str] = field(default_factory=set[str])
    _services_loaded: bool = False
    _today: date = date.min

    @property
    def needs_services(self) -> bool:
        """Whether the active services must be loaded first."""
        return not self._services_loaded

    def missing(self, services: Iterable[str]) -> set[str]:
        """Return the services whose series must be loaded first."""
        return {service for service in services if service not in self._loaded}

    def load_services(self, services: Mapping[str, date]) -> None:
        """Load the services of the database with their last day."""
        self._services_loaded = True
        activity = self._activity((Limit.SERVICES, ""))
        for service, day in services.items():
            activity.note(service, day)

    def load(self, services: Iterable[str], known: Mapping[SampleSeries, date]) -> None:
        """Load the series of these services from the database; a service may have none."""
        self._loaded.update(services)
        self.learn(known)

    def learn(self, days: Mapping[SampleSeries, date]) -> None:
        """Record the written series."""
        for key, day in days.items():
            for scope, member in _members(key):
                self._activity(scope).note(member, day)

    def advance(self, today: date) -> None:
        """Remove members that were inactive for the window and REMEMBERED."""
        if today <= self._today:
            return
        self._today = today
        oldest = today - REMEMBERED - self.limits.days * _DAY
        for scope, activity in list(self._scopes.items()):
            activity.forget_before(oldest)
            if not activity.last:
                del self._scopes[scope]
        self._loaded &= {service for _, service in self._scopes}

    def forget(self) -> None:
        """Discard everything, because another member may write from now on."""
        self._scopes.clear()
        self._loaded.clear()
        self._services_loaded = False

    def last_day(self, key: SampleSeries) -> date | None:
        """Return the last active day of a series; None if unknown."""
        return self.last_active((Limit.SERIES, key.service_name), key)

    def active(self, limit: Limit, day: date, service: str = "") -> int:
        """Return the number of active members of a scope around a day."""
        activity = self._scopes.get((limit, service))
        return activity.around(day, self.limits.days) if activity else 0

    def usage(self, day: date) -> dict[Limit, float]:
        """Return the used share of each limit on a day; for metrics and series, of the service with the most."""
        usage = dict.fromkeys(Limit, 0.0)
        for (limit, _), activity in self._scopes.items():
            usage[limit] = max(usage[limit], activity.around(day, self.limits.days) / self.limits.of(limit))
        return usage

    def last_active(self, scope: Scope, member: Hashable) -> date | None:
        """Return the last day of a member of a scope; None if unknown."""
        activity = self._scopes.get(scope)
        return activity.last.get(member) if activity else None

    def _activity(self, scope: Scope) -> _Activity:
        return self._scopes.setdefault(scope, _Activity())


@dataclass(slots=True)
class Admission:
    """The additions of a batch to a register, which changes only after the batch is written."""

    register: SeriesRegister
    _new: dict[Scope, _Activity] = field(default_factory=dict[Scope, _Activity])

    def refused_by(self, key: SampleSeries, day: date) -> Limit | None:
        """Return the limit that rejects a sample of this day; None if it is admitted.

        Members that were active within the window before the day are always admitted, regardless of the new members.
        """
        members = [(scope, member) for scope, member in _members(key) if not self._is_active(scope, member, day)]
        for (limit, service), _ in members:
            new = self._new.get((limit, service))
            active = self.register.active(limit, day, service)
            if active + (new.around(day, self.register.limits.days) if new else 0) >= self.register.limits.of(limit):
                return limit
        for scope, member in members:
            self._new.setdefault(scope, _Activity()).note(member, day)
        return None

    def _is_active(self, scope: Scope, member: Hashable, day: date) -> bool:
        new = self._new.get(scope)
        days = (self.register.last_active(scope, member), new.last.get(member) if new else None)
        return any(last is not None and last >= day - self.register.limits.days * _DAY for last in days)


def _members(key: SampleSeries) -> tuple[tuple[Scope, Hashable], ...]:
    """Return service, metric and series with their scopes, the widest first."""
    service, metric, _ = key
    return (
        ((Limit.SERVICES, ""), service),
        ((Limit.METRICS, service), metric),
        ((Limit.SERIES, service), key),
    )
