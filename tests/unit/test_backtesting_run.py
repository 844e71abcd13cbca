"""Complete backtests with naive models: their assumptions and what they are compared with."""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from forecasting.forecaster import ModelChoice
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.quality.gate import ActingModel, Verdict
from forecasting.series import Series
from forecasting.walk_forward import WalkForward
from predictive_scaling.backtesting import comparison, walk_forward
from predictive_scaling.backtesting.assumptions import LiveValues, assumptions_of
from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.replay import Replayed
from predictive_scaling.backtesting.reporting.page import page
from predictive_scaling.backtesting.reporting.strategies import strategies
from predictive_scaling.backtesting.reporting.summary import assumptions, gain, summary
from predictive_scaling.backtesting.rolling_forecasts import plan_of
from predictive_scaling.backtesting.run import Backtest, Options, run
from predictive_scaling.backtesting.traces.recorded import Trace, checked, demand_by_minute
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.annotations import PAUSED, PIN
from predictive_scaling.resources.scaling_policy import parse_policy
from predictive_scaling.resources.vocabulary import Mode
from predictive_scaling.simulation.scenario import Scenario
from tests.support.backtests import a_demand, silent

MINUTE = timedelta(minutes=1)


def a_backtest(series: Series, split: float = 0.7) -> Backtest:
    options = Options(split=split, refits=1, model=ModelChoice.SEASONAL_NAIVE)
    return run(Trace(series), default_policy(series.name), (), options, silent)


def an_ordinary_demand() -> Series:
    return a_demand(days=2, noise=0.5)


@cache
def an_ordinary_backtest() -> Backtest:
    return a_backtest(an_ordinary_demand())


def with_future(series: Series, factor: float) -> Series:
    values = series.values.copy()
    values[round(len(values) * 0.7) :] *= factor
    return replace(series, values=values)


def in_minutes(series: Series) -> Series:
    """The same five-minute means, each as a burst of one minute."""
    minutes = np.repeat(series.values * 0.5, 5)
    minutes[2::5] = series.values * 3
    return replace(series, step=MINUTE, values=minutes)


def test_the_default_policy_has_the_defaults_of_the_crd() -> None:
    spec = default_policy("shop").spec
    defaulted = parse_policy(
        {
            "apiVersion": "predictive-scaling.io/v1alpha1",
            "kind": "ScalingPolicy",
            "metadata": {"name": "shop", "namespace": "shop"},
            "spec": {
                "target": {"horizontalPodAutoscaler": {"name": "shop"}},
                "demand": {"metric": "requests"},
                "replicas": {"max": 10},
            },
        }
    ).spec
    assert spec.replicas.min == defaulted.replicas.min
    for field in ("forecast", "scale_up", "scale_down", "dead_band", "fallback"):
        assert getattr(spec, field) == getattr(defaulted, field), field


def test_capacity_and_targets_are_chosen_from_data_before_the_split() -> None:
    first, changed = an_ordinary_backtest(), a_backtest(with_future(an_ordinary_demand(), 3.0))
    assert first.scenario.per_replica == changed.scenario.per_replica
    assert first.comparison.hpa_tuned.target == changed.comparison.hpa_tuned.target
    assert first.comparison.hpa_only.replica_hours < changed.comparison.hpa_only.replica_hours


def test_no_demand_before_the_split_is_refused_with_the_remedy() -> None:
    series = a_demand(days=2)
    idle_past = replace(series, values=np.where(np.arange(len(series.values)) < 450, 0.0, series.values))
    with pytest.raises(InvalidTraceError, match=r"no demand before the split .* state demand.perReplica"):
        a_backtest(idle_past)


def test_recorded_minutes_are_used_instead_of_interpolated_means() -> None:
    per_minute, interpolated = a_backtest(in_minutes(an_ordinary_demand())), an_ordinary_backtest()
    assert (per_minute.demand_step, interpolated.demand_step) == (MINUTE, 5 * MINUTE)
    assert np.allclose(per_minute.series.values, interpolated.series.values)
    assert per_minute.work.demand.max() > 2 * interpolated.work.demand.max()


@pytest.mark.parametrize(("seconds", "expected"), [(15, 60), (30, 60), (60, 60), (150, 150), (300, 300), (1200, 1200)])
def test_the_demand_has_a_step_of_a_minute_or_that_of_the_trace(seconds: int, expected: int) -> None:
    step = timedelta(seconds=seconds)
    series, trace = checked(Trace(replace(a_demand(days=8), step=step)), 5 * MINUTE, zero_is_valid=True)
    demand = demand_by_minute(trace, series, zero_is_valid=True)
    assert demand.step == timedelta(seconds=expected)
    assert demand.values.sum() * expected == pytest.approx(trace.series.values.sum() * seconds, rel=0.01)


def test_invalid_zeros_are_gaps_in_the_demand_per_minute() -> None:
    values = a_demand(days=2).values.copy()
    values[100:200] = 0.0
    recorded = Trace(Series("shop", an_ordinary_demand().start, MINUTE, values))
    series, trace = checked(recorded, 5 * MINUTE, zero_is_valid=False)
    assert np.isnan(demand_by_minute(trace, series, zero_is_valid=False).values[100:200]).all()


def test_each_policy_is_followed_by_the_hpa_alone_at_the_same_hours() -> None:
    backtest = an_ordinary_backtest()
    rows = strategies(backtest)
    names = [row.name.strip() for row in rows]
    for label in ("the policy as written", "the policy, tuned", "the policy and the HPA, tuned"):
        row = names.index(label)
        assert names[row + 1] == "HPA alone at the same hours"
        policy, hpa_only = rows[row].outcome, rows[row + 1].outcome
        assert hpa_only.replica_hours == pytest.approx(policy.replica_hours, rel=0.03)


@pytest.mark.parametrize(
    "stopped",
    [
        {"spec": {"mode": Mode.OFF}},
        {"spec": {"suspend": True}},
        {"metadata": {"annotations": {PAUSED: "true"}}},
        {"metadata": {"annotations": {PIN: "3"}}},
    ],
)
def test_a_policy_that_does_not_act_is_replayed_as_if_it_did(stopped: dict[str, dict[str, Any]]) -> None:
    series = an_ordinary_demand()
    policy = default_policy(series.name)
    changed = policy.model_copy(
        update={name: getattr(policy, name).model_copy(update=change) for name, change in stopped.items()}
    )
    options = Options(refits=1, model=ModelChoice.SEASONAL_NAIVE)
    replayed = run(Trace(series), changed, (), options, silent).replayed
    expected = an_ordinary_backtest().replayed
    assert (replayed.floors == expected.floors).all()
    assert expected.changes, "floors that never change would show nothing"


def test_values_in_use_apply_where_the_policy_states_none_and_are_named() -> None:
    series = an_ordinary_demand()
    policy = default_policy(series.name)
    live = LiveValues(
        lead_time_seconds=490.0, per_replica=float(np.nanmax(series.values)) / 4, hpa_target=0.5, maximum=5
    )
    options = Options(refits=1, model=ModelChoice.SEASONAL_NAIVE, live=live)
    backtest = run(Trace(series), policy, (), options, silent)
    scenario = backtest.scenario
    assert (scenario.lead_time, scenario.per_replica) == (timedelta(seconds=490), live.per_replica)
    assert (scenario.hpa_target, scenario.rules.maximum) == (0.5, 5)
    assert backtest.replayed.existing.max() == backtest.hpa_replayed.existing.max() == 5
    text = assumptions(backtest)
    assert "a lead time of 8.2 min (in use by the operator)" in text
    assert "per replica (in use by the operator)" in text
    assert "an HPA target 50 % (of the target), at most 5 replicas (of the target)" in text


def test_the_options_and_the_policy_take_precedence_over_values_in_use() -> None:
    series, live = an_ordinary_demand(), LiveValues(lead_time_seconds=490.0, per_replica=1.0)
    policy = default_policy(series.name)
    demand = policy.spec.demand.model_copy(update={"per_replica": 50.0})
    stated = policy.model_copy(update={"spec": policy.spec.model_copy(update={"demand": demand})})
    assumed = assumptions_of(stated, series, 0.7, timedelta(minutes=4), live)
    assert (assumed.lead_time, assumed.per_replica) == ((timedelta(minutes=4), "as stated"), (50.0, "as stated"))


def test_the_gain_is_reported_with_its_cost_and_assumptions() -> None:
    backtest = an_ordinary_backtest()
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(summary(backtest))
    table = " ".join(console.export_text().split())
    assert "with the HPA at the same hours" in gain(backtest)
    comparison = backtest.comparison
    for number in (comparison.predictive, comparison.hpa_only, comparison.same_hours.predictive.outcome):
        assert f"{number.minutes:,.0f}" in gain(backtest)
    assert f"{comparison.predictive.replica_hours / comparison.hpa_only.replica_hours:.2f} of the HPA's" in gain(
        backtest
    )
    for text in (table, page(backtest)):
        assert "at the same hours" in text
        for constant in ("a lead time of 3 min", "needs 20)", "between values 5 min apart"):
            assert constant in text


class NaiveStandIn:
    """Replaces LightGBM, so that nothing has to be trained."""

    def fit(self, series: Series) -> SeasonalNaive:
        return SeasonalNaive()


def test_the_better_model_of_a_horizon_acts_at_that_horizon(monkeypatch: pytest.MonkeyPatch) -> None:
    table: tuple[ActingModel, ...] = (ActingModel(2, "LastValue"), ActingModel(12, "LightGBM"))

    def passes(champion: WalkForward, others: Sequence[WalkForward]) -> Verdict:
        return Verdict(True, "LightGBM", "acts", None, (), table)

    monkeypatch.setattr(walk_forward, "LightGBMQuantiles", NaiveStandIn)
    monkeypatch.setattr(walk_forward, "judge", passes)
    series = a_demand(days=2, noise=0.5)
    plan = plan_of(series, 0.7, 1, range(1, 13), 12)
    spliced = walk_forward.walk_forward(series, plan, ModelChoice.AUTO, report=silent)
    table = ()
    plain = walk_forward.walk_forward(series, plan, ModelChoice.AUTO, report=silent)
    judged = slice(plan.split - plain.first, None)
    median = 1
    last_value = plain.of_baseline("LastValue").values[judged]
    assert np.array_equal(spliced.values[judged, :2, median], last_value[:, :2, median])
    assert not np.allclose(plain.values[judged, :2, median], last_value[:, :2, median])
    assert np.array_equal(spliced.values[judged, 2:], plain.values[judged, 2:])


def test_strategies_with_the_same_settings_share_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed: list[tuple[float, float]] = []
    original = comparison.replay

    def counted(scenario: Scenario, *arguments: Any) -> Replayed:
        replayed.append((scenario.policy.spec.forecast.effective_quantile, scenario.hpa_target))
        return original(scenario, *arguments)

    monkeypatch.setattr(comparison, "replay", counted)
    policy = default_policy("shop")
    own = policy.spec.forecast.effective_quantile
    options = Options(refits=1, model=ModelChoice.SEASONAL_NAIVE, quantiles=(own, 0.6, 0.6))
    backtest = run(Trace(an_ordinary_demand()), policy, (), options, silent)
    target, compared = backtest.scenario.hpa_target, backtest.comparison
    assert len(replayed) == len(set(replayed))
    assert set(replayed) == {
        (compared.tuned.quantile, target),
        (compared.tuned_with_target.quantile, compared.tuned_with_target.hpa_target),
        (0.6, target),
    } - {(own, target)}
    unchanged, lower, same = (variant.tuned.outcome for variant in backtest.variants)
    assert unchanged == compared.predictive
    assert lower == same
    assert lower.replica_hours < unchanged.replica_hours
