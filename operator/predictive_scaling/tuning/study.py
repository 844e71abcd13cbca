"""Evaluate the last days of a policy: its frontier, the quantile that its prices select, and advice. Pure, CPU-bound.

The simulation is that of the backtest and gives the same replicas.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import numpy as np

from forecasting.binning import binned_to_last_value
from forecasting.cleaning.regularize import describe_amount
from forecasting.panel import DAY
from forecasting.scaling.frontier import QUANTILES, TARGETS, at_target
from forecasting.scaling.tuner import update
from forecasting.series import Series
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.scaling_policy import ScalingPolicy, parse_policy
from predictive_scaling.simulation.advice import advise, higher_targets
from predictive_scaling.simulation.outcomes import ScalingSimulation
from predictive_scaling.simulation.scenario import Scenario, bounded
from predictive_scaling.simulation.workload import STEP, Workload, workload
from predictive_scaling.tuning.recent import RECORDED, RecentForecasts, first_origin, recent_forecasts
from predictive_scaling.tuning.task import Span, Task, Tuning, prices_of, reach_for, step_for

MINUTE = timedelta(minutes=1)
_MIN_OBSERVED_SHARE = 0.5
"""With at least this share of minutes observed, demand is judged by the minute, otherwise by the bin."""


def tune(task: Task) -> Tuning:
    """Return the tuning of a policy over the last days. Raises InvalidTraceError if there are too few days."""
    policy = bounded(parse_policy(task.policy), task.maximum)
    lead_time = timedelta(seconds=task.lead_time_seconds)
    forecasts, work = _inputs(task, policy, lead_time)
    simulation = ScalingSimulation(Scenario(policy, (), task.per_replica, task.hpa_target, lead_time), work, forecasts)
    own, prices = policy.spec.forecast.effective_quantile, prices_of(policy.spec)
    quantiles = tuple(sorted({*QUANTILES, own} if prices is None else QUANTILES))
    targets = tuple(sorted({*TARGETS, task.hpa_target}))
    floors = simulation.floors(forecasts, quantiles)
    points = simulation.points(floors, quantiles, targets)
    tuner_state = (
        None if prices is None else update(task.tuner_state, at_target(points, task.hpa_target), prices, task.now)
    )
    quantile = own if tuner_state is None else tuner_state.quantile
    column = quantiles.index(quantile)
    line = simulation.points(floors[:, column : column + 1], (quantile,), higher_targets(task.hpa_target))
    hpa_only = simulation.hpa_only(np.array([task.hpa_target]))[0].at(0.0, task.hpa_target)
    advice = advise(line, hpa_only, task.advised)
    advised = [point for point in line if point.hpa_target == advice.hpa_target and point.hpa_target not in targets]
    return Tuning(
        since=work.begins_at,
        until=work.at(len(work)),
        recorded_share=forecasts.recorded_share,
        hpa_target=task.hpa_target,
        prices=prices,
        points=(*points, *advised),
        hpa_only=hpa_only,
        tuner_state=tuner_state,
        quantile=quantile,
        advised=advice.hpa_target,
        saved=advice.saved,
        hours_saved=advice.hours_saved,
        message=advice.message,
    )


def days(tuning: Tuning) -> int:
    """Return the number of evaluated days, rounded, at least one."""
    return max(1, round((tuning.until - tuning.since) / DAY))


def _inputs(task: Task, policy: ScalingPolicy, lead_time: timedelta) -> tuple[RecentForecasts, Workload]:
    """Return the forecasts and the demand of the last days. Raises InvalidTraceError if there are too few days."""
    minutes = np.frombuffer(task.minutes, np.float32).astype(np.float64)
    valid = np.isfinite(minutes) & (minutes >= 0 if policy.spec.demand.zero_is_valid else minutes > 0)
    minutes = np.where(valid, minutes, np.nan)
    step = step_for(lead_time)
    by_minute = Series(policy.service, task.begins_at, MINUTE, minutes)
    series = binned_to_last_value(by_minute, step)
    first = first_origin(series)
    recorded = np.frombuffer(task.recorded, RECORDED)
    forecasts = recent_forecasts(series, recorded, reach_for(lead_time)) if first is not None else None
    if first is None or forecasts is None:
        amount = describe_amount("observed demand", len(series.values) * series.step)
        raise InvalidTraceError(f"{policy.key} has {amount}; a frontier needs two days, the first of them as history")
    has_minutes = valid[valid.argmax() :].mean() >= _MIN_OBSERVED_SHARE
    truth = binned_to_last_value(by_minute, MINUTE) if has_minutes else series
    work = workload(truth, series.start + (first + 1) * step, series.end)
    return forecasts, _without_spans(work, task.unjudged)


def _without_spans(work: Workload, unjudged: Iterable[Span]) -> Workload:
    """Mark the spans in which an event acted as not observed, because the floor was not that of the forecast."""
    times = np.arange(len(work))
    observed = work.observed.copy()
    for span in unjudged:
        since, until = ((moment - work.begins_at) / STEP for moment in (span.start, span.end))
        observed &= (times < since) | (times >= until)
    return replace(work, observed=observed)
