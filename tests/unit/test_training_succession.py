"""A newly trained model against the one in use."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from forecasting.calibration import calibrated
from forecasting.learning import Incumbent, Learned, learn
from forecasting.models.last_value import LastValue
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.seasonal_naive import SeasonalNaive
from forecasting.quality.gate import Succession, judge, succeed
from forecasting.series import Series
from forecasting.walk_forward import before, replay
from predictive_scaling.clock import ManualClock
from predictive_scaling.control.jobs import training
from predictive_scaling.control.jobs.subprocesses import CompletedChild
from predictive_scaling.models.promotion_history import Outcome, entries
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.serving.model_store import ModelStore
from predictive_scaling.training.incumbent import incumbent
from predictive_scaling.training.reporting import Exit, Failed, as_json, as_table, exit_code
from predictive_scaling.training.trainer import Trainer
from tests.support.demand_series import a_series

KEY = SeriesKey("shop/checkout", "requests_per_second", "Sum")
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
QUARTERS_A_DAY = 96
GOOD = LightGBMQuantiles(rounds=25, rows=4000)
POOR = replace(GOOD, rounds=2)
HISTORY = a_series(days=14, weekend=0.4)


@cache
def first() -> Learned:
    return learn(before(HISTORY, 10 * QUARTERS_A_DAY), GOOD)


@cache
def second(kind: LightGBMQuantiles) -> Learned:
    model = first().lightgbm
    assert model is not None
    return learn(HISTORY, kind, Incumbent(model, first().span.until))


def test_a_model_as_good_as_the_one_before_replaces_it() -> None:
    found = second(GOOD).succession
    assert found is not None
    assert found.accepted
    assert "replaces the version before: cost 0." in found.evidence


def test_a_model_that_does_worse_does_not() -> None:
    found = second(POOR).succession
    assert found is not None
    assert not found.accepted
    assert "does worse than the version before: cost 0." in found.evidence


def test_they_are_compared_on_what_neither_has_seen() -> None:
    model = first().lightgbm
    assert model is not None
    found = learn(HISTORY, GOOD, Incumbent(model, HISTORY.end - timedelta(hours=1))).succession
    assert found == Succession(True, "was not compared with the version before: 4 forecasts since that was trained")


def test_with_no_model_in_use_there_is_nothing_to_compare(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert first().succession is None
    assert incumbent(registry, KEY, 900) is None
    refused = replace(first(), verdict=replace(first().verdict, passed=False))
    publish(registry, KEY, refused, NOW)
    assert incumbent(registry, KEY, 900) is None


def test_the_model_in_use_is_the_one_to_compare_with(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish(registry, KEY, first(), NOW)
    found = incumbent(registry, KEY, 900)
    assert found is not None
    assert found.learned_until == first().span.until
    assert incumbent(registry, KEY, 300) is None, "it is of another step"
    version = registry.versions(KEY.slug)[0]
    (registry.path(KEY.slug, version) / "q0900.txt").write_text("tree")
    assert incumbent(registry, KEY, 900) is None, "it is damaged"


async def test_a_refused_model_leaves_the_one_in_use_and_says_why(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    model_store = ModelStore(registry.folder, timeout_seconds=60)
    good = publish(registry, KEY, first(), NOW)
    await model_store.refresh()
    # That this model passed against the naive ones is not the point here.
    verdict = replace(second(POOR).verdict, passed=True)
    bad = publish(registry, KEY, replace(second(POOR), verdict=verdict), NOW + timedelta(days=1))
    assert registry.current(KEY.slug) == good.version
    newest = entries(registry.folder / KEY.slug)[-1]
    assert (newest.outcome, newest.version, newest.previous) == (Outcome.REJECTED, bad.version, good.version)
    report = await model_store.refresh()
    assert report.reloaded == ()
    (told,) = report.rejected
    assert told.file == f"{KEY.slug}/{bad.version}"
    assert "does worse than the version before" in told.reason
    assert model_store.models()[KEY].version == good.version


async def test_an_accepted_model_tells_what_it_replaced(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish(registry, KEY, first(), NOW)
    newer = publish(registry, KEY, second(GOOD), NOW + timedelta(days=1))
    assert registry.current(KEY.slug) == newer.version
    newest = entries(registry.folder / KEY.slug)[-1]
    assert newest.outcome is Outcome.PROMOTED
    assert "it replaces the version before: cost" in newest.evidence


def test_too_few_forecasts_decide_nothing() -> None:
    walk = calibrated(replay(HISTORY, LastValue(), len(HISTORY.values) - 20, np.array([1, 4])))
    worse = replace(walk, quantiles=walk.quantiles * 3)
    assert succeed(worse, walk).accepted


def test_each_horizon_has_the_model_that_does_best_there() -> None:
    series = a_series(days=12, noise=0.02)
    horizons = np.array([1, 4, 24])
    naive = [calibrated(replay(series, model, 5 * 96, horizons)) for model in (LastValue(), SeasonalNaive())]
    champion = replace(naive[1], name="Champion", quantiles=naive[1].quantiles.copy())
    champion.quantiles[:, 0] = naive[1].quantiles[:, 0] * 1.5
    verdict = judge(champion, naive)
    assert verdict.passed
    assert [(one.horizon, one.model) for one in verdict.by_horizon] == [
        (1, "SeasonalNaive"),
        (4, "Champion"),
        (24, "Champion"),
    ]
    assert "SeasonalNaive at 1 bins ahead" in verdict.evidence
    assert judge(naive[1], naive).by_horizon == ()


def test_a_verdict_says_what_the_floor_would_have_cost() -> None:
    verdict = first().verdict
    assert verdict.champion is not None
    assert 0 < verdict.champion.short < 0.3
    assert 1 < verdict.champion.hours < 2
    assert "as a floor that is short for" in verdict.evidence


@pytest.mark.parametrize("factor", [1.0, 7.0])
def test_more_replicas_than_needed_are_never_short(factor: float) -> None:
    walk = replay(HISTORY, LastValue(), 96, np.array([1, 4]))
    perfect = replace(walk, quantiles=np.repeat(walk.actual[:, :, None], 5, axis=2) * factor)
    verdict = judge(perfect, [walk])
    assert verdict.champion is not None
    assert verdict.champion.short == 0
    assert (verdict.champion.hours == 1) == (factor == 1)


async def test_going_back_by_hand_from_a_version_that_did_not_pass_is_no_refusal(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    model_store = ModelStore(registry.folder, timeout_seconds=60)
    failed = replace(second(POOR).verdict, passed=False)
    before, after = (
        publish(registry, KEY, replace(learned, verdict=failed, succession=None), NOW + timedelta(days=day))
        for day, learned in enumerate((first(), second(POOR)))
    )
    await model_store.refresh()
    assert model_store.models()[KEY].version == after.version
    registry.point(KEY.slug, before.version)
    report = await model_store.refresh()
    assert ([one.version for one in report.reloaded], report.rejected) == ([before.version], ())


@dataclass(frozen=True)
class AlwaysPoor:
    """A learner whose model does worse than the one in use."""

    async def learn(self, series: Series, settings: LightGBMQuantiles, incumbent: Incumbent | None) -> Learned:
        return replace(second(POOR), verdict=replace(second(POOR).verdict, passed=True))


class Recorded:
    """A history of one series."""

    async def keys(self, since: datetime) -> list[SeriesKey]:
        return [KEY]

    async def demand(self, key: SeriesKey, start: datetime, end: datetime, step: timedelta) -> Series:
        return HISTORY

    async def event_types(self, key: SeriesKey, start: datetime, end: datetime) -> frozenset[str]:
        return frozenset()


async def test_a_training_says_that_its_version_was_refused_and_which_one_stays(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    clock = ManualClock(NOW + timedelta(days=1))
    trainer = Trainer(Recorded(), registry, clock, GOOD, timedelta(days=30), learner=AlwaysPoor())
    good = publish(registry, KEY, first(), NOW).version
    refused = await trainer.train(KEY)
    assert (refused.published, refused.in_use) == (False, good)
    assert exit_code([refused], []) is Exit.REFUSED
    assert exit_code([refused], [Failed(KEY, "no data")]) is Exit.SOME_FAILED
    (told,) = json.loads(as_json([refused], []))["trained"]
    assert (told["published"], told["in_use"]) == (False, good)
    assert told["version"] != good
    assert f"refused, {good} stays" in as_table([refused], [])
    taken = replace(refused, in_use=refused.version)
    assert exit_code([taken], []) is Exit.GOOD
    assert "refused" not in as_table([taken], [])


@pytest.mark.parametrize(("code", "taken_up"), [(0, True), (3, True), (1, False), (66, False), (75, False)])
async def test_the_operator_takes_up_what_was_published_or_refused(
    code: int, taken_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(command: list[str], timeout_seconds: float) -> CompletedChild:
        return CompletedChild(code, b"", "told")

    monkeypatch.setattr(training, "run_child", ended)
    assert await training.train_in_child(KEY, zero_is_valid=False) == taken_up
