"""A newly trained model is compared with the model in use."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from forecasting.calibration import calibrated
from forecasting.learning import Incumbent, LearnedModels, learn
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.quality.gate import ActingModel, compare_with_incumbent, judge, values_of_acting
from forecasting.series import Series
from forecasting.walk_forward import before, replay
from predictive_scaling.clock import ManualClock
from predictive_scaling.control.jobs import training
from predictive_scaling.control.jobs.subprocesses import CompletedChild
from predictive_scaling.models.promotion_history import Outcome, entries
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.training.reporting import Exit, Failed, as_json, as_table, exit_code
from predictive_scaling.training.trainer import Trainer, load_incumbent
from tests.fixtures.models import FAST_MODEL
from tests.support.demand_series import a_series

KEY = SeriesKey("shop/checkout", "requests_per_second", "Sum")
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
QUARTERS_A_DAY = 96
POOR = replace(FAST_MODEL, rounds=2)
HISTORY = a_series(days=14, weekend=0.4)


@cache
def first_model() -> LearnedModels:
    return learn(before(HISTORY, 10 * QUARTERS_A_DAY), FAST_MODEL)


@cache
def second_model(kind: LightGBMQuantiles) -> LearnedModels:
    model = first_model().lightgbm
    assert model is not None
    return learn(HISTORY, kind, Incumbent(model, first_model().span.until))


def test_a_model_as_good_as_the_incumbent_replaces_it() -> None:
    succession = second_model(FAST_MODEL).succession
    assert succession is not None
    assert succession.accepted
    assert "replaces the previous version: cost 0." in succession.evidence


def test_a_worse_model_does_not_replace_the_incumbent() -> None:
    succession = second_model(POOR).succession
    assert succession is not None
    assert not succession.accepted
    assert "is worse than the previous version: cost 0." in succession.evidence


def test_models_are_compared_on_data_that_neither_was_trained_on() -> None:
    model = first_model().lightgbm
    assert model is not None
    succession = learn(HISTORY, FAST_MODEL, Incumbent(model, HISTORY.end - timedelta(hours=1))).succession
    assert succession is not None
    assert succession.accepted
    assert "4 forecasts" in succession.evidence


def test_without_a_model_in_use_there_is_no_incumbent(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert first_model().succession is None
    assert load_incumbent(registry, KEY, 900) is None
    rejected = replace(first_model(), verdict=replace(first_model().verdict, passed=False))
    publish(registry, KEY, rejected, NOW)
    assert load_incumbent(registry, KEY, 900) is None


def test_the_model_in_use_is_the_incumbent(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish(registry, KEY, first_model(), NOW)
    current = load_incumbent(registry, KEY, 900)
    assert current is not None
    assert current.learned_until == first_model().span.until
    assert load_incumbent(registry, KEY, 300) is None, "another step"
    version = registry.versions(KEY.slug)[0]
    (registry.path(KEY.slug, version) / "q0900.txt").write_text("tree")
    assert load_incumbent(registry, KEY, 900) is None, "a damaged model"


async def test_a_rejected_model_leaves_the_incumbent_in_use_and_reports_the_reason(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    model_store = ModelStore(registry.folder, timeout_seconds=60)
    good = publish(registry, KEY, first_model(), NOW)
    await model_store.refresh()
    # Only the comparison with the incumbent matters here, not the gate against the naive models.
    verdict = replace(second_model(POOR).verdict, passed=True)
    bad = publish(registry, KEY, replace(second_model(POOR), verdict=verdict), NOW + timedelta(days=1))
    assert registry.current(KEY.slug) == good.version
    newest = entries(registry.folder / KEY.slug)[-1]
    assert (newest.outcome, newest.version, newest.previous) == (Outcome.REJECTED, bad.version, good.version)
    report = await model_store.refresh()
    assert report.reloaded == ()
    (rejected,) = report.rejected
    assert rejected.file == f"{KEY.slug}/{bad.version}"
    assert "is worse than the previous version" in rejected.reason
    assert model_store.models()[KEY].version == good.version


async def test_an_accepted_model_records_what_it_replaced(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish(registry, KEY, first_model(), NOW)
    newer = publish(registry, KEY, second_model(FAST_MODEL), NOW + timedelta(days=1))
    assert registry.current(KEY.slug) == newer.version
    newest = entries(registry.folder / KEY.slug)[-1]
    assert newest.outcome is Outcome.PROMOTED
    assert "it replaces the previous version: cost" in newest.evidence


def test_too_few_forecasts_reject_nothing() -> None:
    walk = calibrated(replay(HISTORY, LastValue(), len(HISTORY.values) - 20, np.array([1, 4])))
    worse = replace(walk, quantiles=walk.quantiles * 3)
    assert compare_with_incumbent(worse, walk).accepted


def test_each_horizon_has_the_best_model_of_that_horizon() -> None:
    series = a_series(days=12, noise=0.02)
    horizons = np.array([1, 4, 24])
    naive = [calibrated(replay(series, model, 5 * 96, horizons)) for model in (LastValue(), SeasonalNaive())]
    champion = replace(naive[1], name="Champion", quantiles=naive[1].quantiles.copy())
    champion.quantiles[:, 0] = naive[1].quantiles[:, 0] * 1.5
    verdict = judge(champion, naive)
    assert verdict.passed
    assert [(acting.horizon, acting.model) for acting in verdict.by_horizon] == [
        (1, "SeasonalNaive"),
        (4, "Champion"),
        (24, "Champion"),
    ]
    assert "SeasonalNaive at 1 bins ahead" in verdict.evidence
    assert judge(naive[1], naive).by_horizon == ()


def test_near_events_the_champion_replaces_better_models() -> None:
    champion, naive = np.full((2, 4, 1), 5.0), np.full((2, 4, 1), 1.0)
    table = [ActingModel(2, "LastValue"), ActingModel(3, "Champion"), ActingModel(4, "LastValue")]
    near = np.array([[False, True, True, True], [False, False, False, False]])
    for targets, expected in ((near, [[1, 5, 5, 5], [1, 1, 5, 1]]), (None, [[1, 1, 5, 1], [1, 1, 5, 1]])):
        values = values_of_acting("Champion", champion, table, targets, {"LastValue": naive}.__getitem__)
        assert values[:, :, 0].tolist() == expected


def test_a_verdict_has_the_cost_of_the_resulting_floor() -> None:
    verdict = first_model().verdict
    assert verdict.champion is not None
    assert 0 < verdict.champion.short < 0.3
    assert 1 < verdict.champion.hours < 2
    assert "a floor at that quantile is too low for" in verdict.evidence


@pytest.mark.parametrize("factor", [1.0, 7.0])
def test_more_replicas_than_needed_are_never_short(factor: float) -> None:
    walk = replay(HISTORY, LastValue(), 96, np.array([1, 4]))
    perfect = replace(walk, quantiles=np.repeat(walk.actual[:, :, None], 5, axis=2) * factor)
    verdict = judge(perfect, [walk])
    assert verdict.champion is not None
    assert verdict.champion.short == 0
    assert (verdict.champion.hours == 1) == (factor == 1)


async def test_a_manual_rollback_from_a_version_that_failed_the_gate_is_not_reported_as_rejected(
    tmp_path: Path,
) -> None:
    registry = Registry(tmp_path)
    model_store = ModelStore(registry.folder, timeout_seconds=60)
    failed = replace(second_model(POOR).verdict, passed=False)
    before, after = (
        publish(registry, KEY, replace(learned, verdict=failed, succession=None), NOW + timedelta(days=day))
        for day, learned in enumerate((first_model(), second_model(POOR)))
    )
    await model_store.refresh()
    assert model_store.models()[KEY].version == after.version
    registry.point(KEY.slug, before.version)
    report = await model_store.refresh()
    assert ([model.version for model in report.reloaded], report.rejected) == ([before.version], ())


@dataclass(frozen=True)
class PoorBackend:
    """A training backend whose model does worse than the incumbent."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> LearnedModels:
        return replace(second_model(POOR), verdict=replace(second_model(POOR).verdict, passed=True))


class OneSeriesHistory:
    """A demand history with one series."""

    async def keys(self, since: datetime) -> list[SeriesKey]:
        return [KEY]

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        return HISTORY

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        return frozenset()


async def test_a_training_reports_a_refused_version_and_the_version_in_use(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    clock = ManualClock(NOW + timedelta(days=1))
    trainer = Trainer(OneSeriesHistory(), registry, clock, FAST_MODEL, timedelta(days=30), backend=PoorBackend())
    good = publish(registry, KEY, first_model(), NOW).version
    refused = await trainer.train(KEY)
    assert (refused.published, refused.in_use) == (False, good)
    assert exit_code([refused], []) is Exit.REFUSED
    assert exit_code([refused], [Failed(KEY, "no data")]) is Exit.SOME_FAILED
    (entry,) = json.loads(as_json([refused], []))["trained"]
    assert (entry["published"], entry["in_use"]) == (False, good)
    assert entry["version"] != good
    assert f"refused, {good} stays" in as_table([refused], [])
    accepted = replace(refused, in_use=refused.version)
    assert exit_code([accepted], []) is Exit.GOOD
    assert "refused" not in as_table([accepted], [])


@pytest.mark.parametrize(("code", "reloads"), [(0, True), (3, True), (1, False), (66, False), (75, False)])
async def test_the_operator_reloads_after_a_published_or_refused_training(
    code: int, reloads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def completed(command: list[str], timeout_seconds: float) -> CompletedChild:
        return CompletedChild(code, b"", "stderr")

    monkeypatch.setattr(training, "run_child", completed)
    assert await training.train_in_child(KEY, zero_is_valid=False) == reloads
