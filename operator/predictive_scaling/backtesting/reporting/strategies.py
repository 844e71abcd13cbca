"""The rows of a backtest's main table: one for each scaling strategy."""

from typing import NamedTuple

from forecasting.scaling.frontier import Prices
from predictive_scaling.backtesting.comparison import Tuned, Variant
from predictive_scaling.backtesting.run import Backtest
from predictive_scaling.resources.vocabulary import BacktestVariant
from predictive_scaling.simulation.outcomes import HpaOnly, Outcome


class Strategy(NamedTuple):
    """A scaling strategy and its outcome. quantile: of its floor; None if no forecast sets one. target: a fraction."""

    variant: BacktestVariant
    name: str
    quantile: float | None
    target: float
    outcome: Outcome

    @property
    def setting(self) -> str:
        """The quantile and the target, as shown to users."""
        target = target_setting(self.target)
        return target if self.quantile is None else f"{_quantile(self.quantile)}, {target}"


def strategies(backtest: Backtest) -> list[Strategy]:
    """Return all strategies: the HPA alone, the policy as written and tuned, its variants, and the oracle.

    Each policy is followed by the HPA alone with the same replica-hours.
    """
    comparison, scenario, same = backtest.comparison, backtest.scenario, backtest.comparison.same_hours
    target, quantile = scenario.hpa_target, scenario.policy.spec.forecast.effective_quantile
    hpa_tuned = comparison.hpa_tuned
    return [
        Strategy(BacktestVariant.HPA_ALONE, "HPA alone", None, target, comparison.hpa_only),
        Strategy(
            BacktestVariant.HPA_TUNED,
            "HPA alone, tuned by the same prices",
            None,
            hpa_tuned.target,
            hpa_tuned.outcome,
        ),
        Strategy(BacktestVariant.SEASONAL_NAIVE, "seasonal naive floor", quantile, target, comparison.seasonal_naive),
        Strategy(BacktestVariant.POLICY, "the policy as written", quantile, target, comparison.predictive),
        _at_same_hours(same.predictive),
        _tuned(BacktestVariant.POLICY_TUNED, "the policy, tuned", comparison.tuned),
        _at_same_hours(same.tuned),
        _tuned(BacktestVariant.POLICY_AND_HPA_TUNED, "the policy and the HPA, tuned", comparison.tuned_with_target),
        _at_same_hours(same.tuned_with_target),
        *(strategy for variant in backtest.variants for strategy in _of_variant(variant)),
        Strategy(BacktestVariant.ORACLE, "oracle that knows the future", None, target, comparison.oracle),
    ]


def relative_hours(backtest: Backtest, outcome: Outcome) -> float:
    """Return replica-hours relative to those of the HPA alone, a ratio; 1 if the HPA used none."""
    hpa_only = backtest.comparison.hpa_only.replica_hours
    return outcome.replica_hours / hpa_only if hpa_only else 1.0


def target_setting(target: float) -> str:
    """Return a utilization target as shown to users."""
    return f"target {100 * target:.3g} %"


def _of_variant(variant: Variant) -> tuple[Strategy, Strategy]:
    kind = BacktestVariant.QUANTILE if variant.prices is None else BacktestVariant.PRICES
    name = f"the policy at {_quantile(variant.tuned.quantile)}" if variant.prices is None else _priced(variant.prices)
    return _tuned(kind, name, variant.tuned), _at_same_hours(variant.same_hours)


def _priced(prices: Prices) -> str:
    return f"the policy, tuned by {prices.under_provisioned_minute:g} a minute, {prices.replica_hour:g} an hour"


def _tuned(variant: BacktestVariant, name: str, tuned: Tuned) -> Strategy:
    return Strategy(variant, name, tuned.quantile, tuned.hpa_target, tuned.outcome)


def _at_same_hours(hpa: HpaOnly) -> Strategy:
    """Return the row below that of a policy: the HPA alone with the same replica-hours."""
    return Strategy(BacktestVariant.HPA_AT_SAME_HOURS, "  HPA alone at the same hours", None, hpa.target, hpa.outcome)


def _quantile(quantile: float) -> str:
    return f"p{100 * quantile:.3g}"
