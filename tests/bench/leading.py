"""What leading indicators bring: generated services of which one feeds the other, and series that only look like it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from forecasting.forecaster import ModelChoice
from forecasting.scaling.frontier import Point
from forecasting.series import Series
from predictive_scaling.backtesting.assumptions import UNKNOWN, assumptions_of
from predictive_scaling.backtesting.leading import with_indicators
from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.rolling_forecasts import RollingForecasts, plan_of
from predictive_scaling.backtesting.traces.recorded import Trace, checked
from predictive_scaling.backtesting.traces.regressors import RecordedRegressor
from predictive_scaling.backtesting.walk_forward import walk_forward
from predictive_scaling.resources.regressor import Regressor
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario
from predictive_scaling.simulation.workload import workload
from predictive_scaling.synthesis.chance import Chance
from predictive_scaling.synthesis.shapes import day, weekend
from predictive_scaling.synthesis.timeline import FloatArray, Timeline
from tests.bench.markdown import table

SEED = 1
_END = datetime(2026, 5, 29, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_DAYS, _QUICK_DAYS = 14, 10
_BURSTS_A_DAY = 4.0
_ZONE = "Europe/Berlin"
_STEP, _LEAD_TIME, _AHEAD, _SPLIT = timedelta(minutes=5), timedelta(minutes=10), 12, 0.5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LeadingService:
    """A service, minute by minute, and the series that are tried as its leading indicators, by what they are to it."""

    demand: FloatArray
    indicators: dict[str, FloatArray]


@dataclass(frozen=True, slots=True)
class LeadingResult:
    """The outcome of an indicator after the split, without and with its indicator.

    minutes: short of replicas, with a floor at the 0.9 quantile. hours: replica-hours over those without it.
    """

    about: str
    days_in_use: int
    days: int
    runs_ahead_minutes: float | None
    cost_without: float
    cost: float
    wape_without: float
    wape: float
    minutes_without: float
    minutes: float
    hours: float


def leading_services(*, quick: bool) -> Iterator[LeadingService]:
    """Yield services that follow another one after 10, 15 and 20 minutes, and one with series that do not lead it."""
    timeline = _timeline(_QUICK_DAYS if quick else _DAYS)
    for delay in (10, 15, 20):
        chance = Chance(SEED, f"leading {delay}")
        visits = _unusual(timeline, chance, "visits")
        demand = _requests(timeline, chance, "orders", 120.0, np.concatenate([np.zeros(delay), visits[:-delay]]))
        upstream = _requests(timeline, chance, "upstream", 300.0, visits)
        yield LeadingService(demand, {f"upstream, {delay} minutes ahead": upstream})
    chance = Chance(SEED, "leading nothing")
    visits, other = (_unusual(timeline, chance, purpose) for purpose in ("visits", "other visits"))
    demand = _requests(timeline, chance, "orders", 120.0, visits)
    yield LeadingService(
        demand,
        {
            "same season, other visits": _requests(timeline, chance, "other", 300.0, other),
            "same visits at the same time": _requests(timeline, chance, "twin", 300.0, visits),
            "follows after 10 minutes": np.concatenate([demand[:10], demand[:-10]]),
            "copy of the demand": demand * 2.5,
            "noise": 100.0 * np.exp(0.4 * chance.drifting("noise", timeline, 20 * _MINUTE)),
        },
    )


def measure_leading(services: Iterable[LeadingService], refits: int, say: Say) -> list[LeadingResult]:
    """Return the outcome of each indicator."""
    return [result for service in services for result in _measured(service, refits, say)]


def leading_section(results: Sequence[LeadingResult]) -> str:
    """Return the results as a section of the document."""
    rows = [
        [
            result.about,
            f"{result.days_in_use} of {result.days}",
            "–" if result.runs_ahead_minutes is None else f"{result.runs_ahead_minutes:g} min",
            _change(result.cost_without, result.cost, 3),
            _change(result.wape_without, result.wape, 3),
            _change(result.minutes_without, result.minutes, 0),
            f"{result.hours:.3f}",
        ]
        for result in results
    ]
    columns = ["indicator", "days in use", "lag found", "cost", "WAPE", "minutes short", "replica-hours"]
    return (
        "Forecasts of the next hour after a week of history; the indicator is judged again each day. A floor at the\n"
        f"0.9 quantile with a lead time of {_LEAD_TIME / _MINUTE:g} minutes. Without → with the indicator; replica-"
        "hours are relative to those without.\n\n" + table(columns, rows)
    )


def _change(before: float, after: float, places: int) -> str:
    return f"{before:.{places}f} → {after:.{places}f}" if before != after else f"{before:.{places}f}"


def _measured(service: LeadingService, refits: int, say: Say) -> Iterator[LeadingResult]:
    policy = default_policy("orders")
    trace = Trace(_series("orders", service.demand))
    series, _ = checked(trace, _STEP, zero_is_valid=False)
    assumed = assumptions_of(policy, series, _SPLIT, _LEAD_TIME, UNKNOWN)
    scenario = Scenario(policy, (), assumed.per_replica.value, assumed.hpa_target.value, _LEAD_TIME)
    plan = plan_of(series, _SPLIT, refits, range(1, _AHEAD + 1), _AHEAD)
    say(f"leading indicators: forecasting {len(series.values)} bins")
    plain = walk_forward(series, plan, ModelChoice.AUTO, report=_silent)
    for about, values in service.indicators.items():
        say(f"leading indicators: {about}")
        recorded = RecordedRegressor(Regressor(service="upstream", metric="requests"), _series("upstream", values))
        corrected, effect = with_indicators(plain, [recorded.rebinned(series.step)], _silent)
        assert effect is not None
        (use,) = effect.uses
        ahead = use.last.ahead if use.last is not None and use.used else None
        before, after = (_point(scenario, trace, forecasts) for forecasts in (plain, corrected))
        yield LeadingResult(
            about=about,
            days_in_use=use.used,
            days=use.days,
            runs_ahead_minutes=None if ahead is None else ahead / _MINUTE,
            cost_without=effect.cost_without,
            cost=effect.cost,
            wape_without=effect.wape_without,
            wape=effect.wape,
            minutes_without=before.minutes,
            minutes=after.minutes,
            hours=after.replica_hours / before.replica_hours,
        )


def _point(scenario: Scenario, trace: Trace, forecasts: RollingForecasts) -> Point:
    """Return minutes short and replica-hours with a floor at the quantile of the policy."""
    work = workload(trace.series, forecasts.moment(forecasts.plan.split), forecasts.series.end)
    simulation = ScalingSimulation(scenario, work, forecasts)
    quantiles = (scenario.policy.spec.forecast.effective_quantile,)
    (point,) = simulation.points(simulation.floors(forecasts, quantiles), quantiles, (scenario.hpa_target,))
    return point


def _timeline(days: int) -> Timeline:
    return Timeline(_END - timedelta(days=days), _MINUTE, days * 1440)


def _series(name: str, values: FloatArray) -> Series:
    return Series(name, _END - len(values) * _MINUTE, _MINUTE, np.round(values, 3))


def _unusual(timeline: Timeline, chance: Chance, purpose: str) -> FloatArray:
    """Return the unpredictable part of visits in logarithms: a slow drift, and bursts at any time."""
    values = 0.12 * chance.drifting(purpose, timeline, 40 * _MINUTE)
    generator = chance.on(purpose, timeline.start)
    for start in np.flatnonzero(generator.random(timeline.bins) < _BURSTS_A_DAY / 1440):
        length = int(generator.integers(20, 90))
        course = np.minimum(np.arange(length) / 8, 1.0) * generator.uniform(0.3, 1.2)
        end = min(timeline.bins, int(start) + length)
        values[start:end] += course[: end - start]
    return values


def _requests(timeline: Timeline, chance: Chance, purpose: str, level: float, unusual: FloatArray) -> FloatArray:
    """Return the requests of a service: its daily and weekly shape, the unusual part, and noise of its own."""
    shape = day(timeline, _ZONE, {0: 0.4, 4: 0.2, 9: 0.8, 13: 0.9, 19: 1.25, 22: 0.8}) * weekend(timeline, _ZONE, 0.8)
    own = 0.06 * chance.drifting(f"{purpose} drift", timeline, 60 * _MINUTE)
    return level * shape * np.exp(unusual + own + 0.05 * chance.normal(f"{purpose} noise", timeline))


def _silent(_stage: str, _share: float) -> None:
    """Report no progress."""
