"""The document that `--output json` writes."""

import math
from typing import Any

import msgspec

from forecasting.scaling.frontier import Point
from forecasting.seasons import seasons
from predictive_scaling.backtesting.accuracy import Accuracy
from predictive_scaling.backtesting.run import Backtest, Tuned
from predictive_scaling.simulation.outcomes import HpaOnly, Outcome

_DIGITS = 6


def as_json(backtest: Backtest) -> str:
    """One line, numbers only where there are any: what cannot be said is null."""
    return msgspec.json.encode(document(backtest)).decode() + "\n"


def document(backtest: Backtest) -> dict[str, Any]:
    """As plain values. Shares and errors are ratios; horizons are minutes, as text."""
    series, step, scenario = backtest.series, backtest.series.step, backtest.scenario
    comparison, forecasts, last = backtest.comparison, backtest.forecasts, backtest.forecasts.chunks[-1]
    same_hours = comparison.same_hours
    prices = dict(zip(("tuned", "tuned_with_target"), backtest.prices, strict=True))
    found = {
        "series": {
            "name": series.name,
            "points": len(series.values),
            "resolution": step.total_seconds(),
            "start": series.start.isoformat(),
            "end": series.end.isoformat(),
            "repairs": list(backtest.trace.repairs),
            "seasons": [
                {"period": season.period.total_seconds(), "strength": season.strength} for season in seasons(series)
            ],
        },
        "accuracy": {_minutes(bins, step): _accuracy(one) for bins, one in backtest.accuracy.items()},
        "baselines": {
            name: {_minutes(bins, step): {"wape": wape} for bins, wape in by_horizon.items()}
            for name, by_horizon in backtest.baselines.items()
        },
        "simulation": {
            "hpa_only": _outcome(comparison.hpa_only) | {"hpa_target": scenario.hpa_target},
            "hpa_equal_cost": _hpa_alone(same_hours.predictive),
            "hpa_tuned": _hpa_alone(comparison.hpa_tuned),
            "seasonal_naive": _outcome(comparison.seasonal_naive),
            "predictive": _outcome(comparison.predictive)
            | {"quantile": scenario.policy.spec.forecast.effective_quantile, "hpa_target": scenario.hpa_target}
            | _hpa_at_same_hours(same_hours.predictive),
            "tuned": _tuned(comparison.tuned) | _hpa_at_same_hours(same_hours.tuned),
            "tuned_with_target": _tuned(comparison.tuned_with_target)
            | _hpa_at_same_hours(same_hours.tuned_with_target),
            "clairvoyant": _outcome(comparison.oracle),
        },
        "events": {
            "count": len(scenario.events),
            "accuracy": {
                _minutes(bins, step): {
                    "judged": one.judged,
                    "wape": one.wape,
                    "coverage": {f"{quantile:g}": value for quantile, value in one.coverage.items()},
                }
                for bins, one in backtest.near_events.items()
            },
        },
        "frontier": [_point(point) for point in backtest.frontier],
        "prices": {
            name: {"under_provisioned_minute": one.under_provisioned_minute, "replica_hour": one.replica_hour}
            for name, one in prices.items()
        },
        "advice": {
            "quantile": backtest.advice.quantile,
            "hpa_target": backtest.advice.hpa_target,
            "replica_hours_saved": backtest.advice.saved,
            "message": backtest.advice.message,
        },
        "policy": {
            "namespace": backtest.policy.metadata.namespace,
            "name": backtest.policy.metadata.name,
            "per_replica": scenario.per_replica,
            "lead_time": scenario.lead_time.total_seconds(),
            "events": len(scenario.events),
        },
        "model": {
            "chosen": last.model,
            "why": last.why,
            "refits": [
                {"from": forecasts.moment(chunk.since).isoformat(), "chosen": chunk.model, "why": chunk.why}
                for chunk in forecasts.chunks
                if chunk.since >= forecasts.plan.split
            ],
        },
        "seconds": {
            "train": forecasts.train_seconds,
            "predict": forecasts.predict_seconds,
            "total": backtest.seconds,
        },
    }
    return _clean(found)


def _accuracy(one: Accuracy) -> dict[str, Any]:
    return {
        "wape": one.wape,
        "mape": one.mape,
        "mase": one.mase,
        "coverage": {f"{quantile:g}": value for quantile, value in one.coverage.items()},
        "pinball": {f"{quantile:g}": value for quantile, value in one.pinball.items()},
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    return {
        "under_provisioned_share": one.under_provisioned_share,
        "under_provisioned_minutes": one.minutes,
        "lost_demand_share": one.lost_demand_share,
        "replica_hours": one.replica_hours,
    }


def _tuned(one: Tuned) -> dict[str, Any]:
    return _outcome(one.outcome) | {"quantile": one.quantile, "hpa_target": one.hpa_target}


def _hpa_alone(one: HpaOnly) -> dict[str, Any]:
    return _outcome(one.outcome) | {"hpa_target": one.target}


def _hpa_at_same_hours(one: HpaOnly) -> dict[str, Any]:
    return {"hpa_at_same_hours": _hpa_alone(one)}


def _point(point: Point) -> dict[str, Any]:
    return {
        "quantile": point.quantile,
        "hpa_target": point.hpa_target,
        "under_provisioned_share": point.under_provisioned_share,
        "lost_demand_share": point.lost_demand_share,
        "replica_hours": point.replica_hours,
    }


def _minutes(bins: int, step: Any) -> str:
    return f"{bins * step.total_seconds() / 60:g}"


def _clean(value: Any) -> Any:
    """Rounded, and without what JSON has no word for."""
    if isinstance(value, dict):
        return {name: _clean(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
