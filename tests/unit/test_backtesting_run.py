"""A whole backtest, without a model that has anything to learn: what it rests on, and what it is compared with."""

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pytest
from rich.console import Console

from forecasting.model_choice import ModelChoice
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.quality.gate import Acting, Verdict
from forecasting.series import Series
from forecasting.walk_forward import WalkForward
from predictive_scaling.backtesting import rolling_forecasts as rolling_forecasts
from predictive_scaling.backtesting.manifests import default_policy
from predictive_scaling.backtesting.reporting.page import page
from predictive_scaling.backtesting.reporting.summary import gain, summary, ways
from predictive_scaling.backtesting.run import Backtest, Options, run
from predictive_scaling.backtesting.traces.recorded import Trace, checked, demand_by_minute
from predictive_scaling.errors import InvalidTraceError
from predictive_scaling.resources.scaling_policy import parse_policy
from tests.support.backtests import a_demand, silent

MINUTE = timedelta(minutes=1)


def ran(series: Series, split: float = 0.7) -> Backtest:
    options = Options(split=split, refits=1, model=ModelChoice.SEASONAL_NAIVE)
    return run(Trace(series), default_policy(series.name), (), options, silent)


def an_ordinary_demand() -> Series:
    return a_demand(days=2, noise=0.5)


@cache
def an_ordinary_backtest() -> Backtest:
    return ran(an_ordinary_demand())


def with_future(series: Series, factor: float) -> Series:
    values = series.values.copy()
    values[round(len(values) * 0.7) :] *= factor
    return replace(series, values=values)


def by_the_minute(series: Series) -> Series:
    """The same means of five minutes, each in one burst of a minute."""
    minutes = np.repeat(series.values * 0.5, 5)
    minutes[2::5] = series.values * 3
    return replace(series, step=MINUTE, values=minutes)


def test_the_default_policy_is_what_the_api_server_makes_of_a_policy_that_states_nothing() -> None:
    spec = default_policy("shop").spec
    bare = parse_policy(
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
    assert spec.replicas.min == bare.replicas.min
    for part in ("forecast", "scale_up", "scale_down", "dead_band", "fallback"):
        assert getattr(spec, part) == getattr(bare, part), part


def test_what_is_learned_and_chosen_comes_from_before_the_split() -> None:
    first, other = an_ordinary_backtest(), ran(with_future(an_ordinary_demand(), 3.0))
    assert first.scenario.per_replica == other.scenario.per_replica
    assert first.comparison.hpa_tuned.target == other.comparison.hpa_tuned.target
    assert first.comparison.hpa_only.replica_hours < other.comparison.hpa_only.replica_hours


def test_no_demand_before_the_split_is_refused_with_the_remedy() -> None:
    series = a_demand(days=2)
    silent_past = replace(series, values=np.where(np.arange(len(series.values)) < 450, 0.0, series.values))
    with pytest.raises(InvalidTraceError, match=r"no demand before the split .* state demand.perReplica"):
        ran(silent_past)


def test_minutes_that_were_recorded_are_the_demand_and_not_a_line_between_means_of_five() -> None:
    fine, coarse = ran(by_the_minute(an_ordinary_demand())), an_ordinary_backtest()
    assert (fine.demand_step, coarse.demand_step) == (MINUTE, 5 * MINUTE)
    assert np.allclose(fine.series.values, coarse.series.values)
    assert fine.work.demand.max() > 2 * coarse.work.demand.max()


@pytest.mark.parametrize(("seconds", "expected"), [(15, 60), (30, 60), (60, 60), (150, 150), (300, 300), (1200, 1200)])
def test_the_demand_is_by_the_minute_as_live_or_as_fine_as_was_recorded(seconds: int, expected: int) -> None:
    step = timedelta(seconds=seconds)
    series, trace = checked(Trace(replace(a_demand(days=8), step=step)), 5 * MINUTE, zero_is_valid=True)
    demand = demand_by_minute(trace, series, zero_is_valid=True)
    assert demand.step == timedelta(seconds=expected)
    assert demand.values.sum() * expected == pytest.approx(trace.series.values.sum() * seconds, rel=0.01)


def test_zeros_that_are_no_demand_are_none_by_the_minute_either() -> None:
    values = a_demand(days=2).values.copy()
    values[100:200] = 0.0
    given = Trace(Series("shop", an_ordinary_demand().start, MINUTE, values))
    series, trace = checked(given, 5 * MINUTE, zero_is_valid=False)
    assert np.isnan(demand_by_minute(trace, series, zero_is_valid=False).values[100:200]).all()


def test_every_policy_stands_beside_the_hpa_alone_at_its_own_hours() -> None:
    found = an_ordinary_backtest()
    rows = ways(found)
    names = [name.strip() for name, _, _ in rows]
    for way in ("the policy as written", "the policy, tuned", "the policy and the HPA, tuned"):
        at = names.index(way)
        assert names[at + 1] == "HPA alone at the same hours"
        policy, same = rows[at][2], rows[at + 1][2]
        assert same.replica_hours == pytest.approx(policy.replica_hours, rel=0.03)


def test_the_gain_is_told_with_its_cost_and_with_what_it_rests_on() -> None:
    found = an_ordinary_backtest()
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(summary(found))
    told = " ".join(console.export_text().split())
    assert "with the HPA at the same hours" in gain(found)
    comparison = found.comparison
    for number in (comparison.predictive, comparison.hpa_only, comparison.same_hours.predictive.outcome):
        assert f"{number.minutes:,.0f}" in gain(found)
    assert f"{comparison.predictive.replica_hours / comparison.hpa_only.replica_hours:.2f} of the HPA's" in gain(found)
    for text in (told, page(found)):
        assert "at the same hours" in text
        for constant in ("a lead time of 3 min", "needs 20 of them", "a line between values 5 min apart"):
            assert constant in text


class AsYesterday:
    """Stands in for LightGBM, so that nothing has to be learned."""

    def fit(self, series: Series) -> SeasonalNaive:
        return SeasonalNaive()


def test_the_model_that_the_gate_found_better_at_a_horizon_acts_there(monkeypatch: pytest.MonkeyPatch) -> None:
    table: tuple[Acting, ...] = (Acting(2, "LastValue"), Acting(12, "LightGBM"))

    def passes(champion: WalkForward, others: Sequence[WalkForward]) -> Verdict:
        return Verdict(True, "LightGBM", "acts", None, (), table)

    monkeypatch.setattr(rolling_forecasts, "LightGBMQuantiles", AsYesterday)
    monkeypatch.setattr(rolling_forecasts, "judge", passes)
    series = a_demand(days=2, noise=0.5)
    plan = rolling_forecasts.plan_of(series, 0.7, 1, range(1, 13), 12)
    spliced = rolling_forecasts.walk_forward(series, plan, ModelChoice.AUTO, report=silent)
    table = ()
    plain = rolling_forecasts.walk_forward(series, plan, ModelChoice.AUTO, report=silent)
    judged = slice(plan.split - plain.first, None)
    medians = 1
    last = plain.of_baseline("LastValue").values[judged]
    assert np.array_equal(spliced.values[judged, :2, medians], last[:, :2, medians])
    assert not np.allclose(plain.values[judged, :2, medians], last[:, :2, medians])
    assert np.array_equal(spliced.values[judged, 2:], plain.values[judged, 2:])
