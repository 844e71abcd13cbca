"""The document that `--output json` writes."""

import math
from datetime import timedelta
from typing import Any

import msgspec

from forecasting.scaling.frontier import Point, Prices
from forecasting.seasons import seasons
from predictive_scaling.backtesting.accuracy import Accuracy
from predictive_scaling.backtesting.assumptions import Assumed
from predictive_scaling.backtesting.comparison import Tuned
from predictive_scaling.backtesting.leading import IndicatorEffect
from predictive_scaling.backtesting.run import Backtest
from predictive_scaling.simulation.outcomes import HpaOnly, Outcome

_DIGITS = 6


def as_json(backtest: Backtest) -> str:
    """Return the results as one line of JSON; undefined numbers are null."""
    return msgspec.json.encode(document(backtest)).decode() + "\n"


def document(backtest: Backtest) -> dict[str, Any]:
    """Return the results as plain values. Shares and errors are ratios; horizons are minutes, as text."""
    series, step, scenario = backtest.series, backtest.series.step, backtest.scenario
    comparison, forecasts, last = backtest.comparison, backtest.forecasts, backtest.forecasts.chunks[-1]
    same_hours, assumed = comparison.same_hours, backtest.assumptions
    prices = dict(zip(("tuned", "tuned_with_target"), backtest.prices, strict=True))
    results = {
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
        "accuracy": {_minutes(bins, step): _accuracy(accuracy) for bins, accuracy in backtest.accuracy.items()},
        "baselines": {
            name: {_minutes(bins, step): {"wape": wape} for bins, wape in by_horizon.items()}
            for name, by_horizon in backtest.baselines.items()
        },
        "simulation": {
            "hpa_only": _outcome(comparison.hpa_only) | {"hpa_target": scenario.hpa_target},
            "hpa_equal_cost": _hpa_only(same_hours.predictive),
            "hpa_tuned": _hpa_only(comparison.hpa_tuned),
            "seasonal_naive": _outcome(comparison.seasonal_naive),
            "predictive": _outcome(comparison.predictive)
            | {"quantile": scenario.policy.spec.forecast.effective_quantile, "hpa_target": scenario.hpa_target}
            | _hpa_at_same_hours(same_hours.predictive),
            "tuned": _tuned(comparison.tuned) | _hpa_at_same_hours(same_hours.tuned),
            "tuned_with_target": _tuned(comparison.tuned_with_target)
            | _hpa_at_same_hours(same_hours.tuned_with_target),
            "clairvoyant": _outcome(comparison.oracle),
            "variants": [
                _tuned(variant.tuned) | _prices(variant.prices) | _hpa_at_same_hours(variant.same_hours)
                for variant in backtest.variants
            ],
        },
        "events": {
            "count": len(scenario.events),
            "accuracy": {
                _minutes(bins, step): {
                    "judged": near.judged,
                    "wape": near.wape,
                    "coverage": {f"{quantile:g}": value for quantile, value in near.coverage.items()},
                }
                for bins, near in backtest.near_events.items()
            },
        },
        "regressors": _indicators(backtest.indicators),
        "frontier": [_point(point) for point in backtest.frontier],
        "prices": {
            name: {"under_provisioned_minute": price.under_provisioned_minute, "replica_hour": price.replica_hour}
            for name, price in prices.items()
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
        "assumptions": {
            "lead_time": _assumed(assumed.lead_time) | {"value": scenario.lead_time.total_seconds()},
            "per_replica": _assumed(assumed.per_replica),
            "hpa_target": _assumed(assumed.hpa_target),
            "maximum": _assumed(assumed.maximum),
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
    return _rounded(results)


def _indicators(effect: IndicatorEffect | None) -> dict[str, Any] | None:
    """What the leading indicators brought; None without any."""
    if effect is None:
        return None
    return {
        "cost": effect.cost,
        "cost_without": effect.cost_without,
        "wape": effect.wape,
        "wape_without": effect.wape_without,
        "series": [
            {
                "name": use.name,
                "days_in_use": use.used,
                "days": use.days,
                "runs_ahead": None if use.last is None or use.last.ahead is None else use.last.ahead.total_seconds(),
                "verdict": None if use.last is None else use.last.evidence,
            }
            for use in effect.uses
        ],
    }


def _assumed(assumed: Assumed[Any]) -> dict[str, Any]:
    return {"value": assumed.value, "source": assumed.source or "policy"}


def _accuracy(accuracy: Accuracy) -> dict[str, Any]:
    return {
        "wape": accuracy.wape,
        "mape": accuracy.mape,
        "mase": accuracy.mase,
        "coverage": {f"{quantile:g}": value for quantile, value in accuracy.coverage.items()},
        "pinball": {f"{quantile:g}": value for quantile, value in accuracy.pinball.items()},
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "under_provisioned_share": outcome.under_provisioned_share,
        "under_provisioned_minutes": outcome.minutes,
        "lost_demand_share": outcome.lost_demand_share,
        "replica_hours": outcome.replica_hours,
    }


def _tuned(tuned: Tuned) -> dict[str, Any]:
    return _outcome(tuned.outcome) | {"quantile": tuned.quantile, "hpa_target": tuned.hpa_target}


def _prices(prices: Prices | None) -> dict[str, Any]:
    if prices is None:
        return {"prices": None}
    minute, hour = prices.under_provisioned_minute, prices.replica_hour
    return {"prices": {"under_provisioned_minute": minute, "replica_hour": hour}}


def _hpa_only(hpa: HpaOnly) -> dict[str, Any]:
    return _outcome(hpa.outcome) | {"hpa_target": hpa.target}


def _hpa_at_same_hours(hpa: HpaOnly) -> dict[str, Any]:
    return {"hpa_at_same_hours": _hpa_only(hpa)}


def _point(point: Point) -> dict[str, Any]:
    return {
        "quantile": point.quantile,
        "hpa_target": point.hpa_target,
        "under_provisioned_share": point.under_provisioned_share,
        "lost_demand_share": point.lost_demand_share,
        "replica_hours": point.replica_hours,
    }


def _minutes(bins: int, step: timedelta) -> str:
    return f"{bins * step.total_seconds() / 60:g}"


def _rounded(value: Any) -> Any:
    """Return the value with all floats rounded, and None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
