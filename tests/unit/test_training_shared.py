"""One model for many series: who it answers for, from when on, and what it takes."""

import shutil
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.context import Context
from forecasting.forecaster import TooShortError
from forecasting.learning import Learned, learn
from forecasting.model_choice import ModelChoice
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.models.shared import NAME, SharedLightGBM
from forecasting.series import Series
from predictive_scaling.models.loading import Loaded, check, load
from predictive_scaling.models.manifest import ActingRecord
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.models.series_key import SHARED, SeriesKey
from predictive_scaling.models.shared_members import LearnedShared
from predictive_scaling.serving.model_cache import IDLE_SECONDS, ModelCache
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore
from predictive_scaling.training.shared_learning import learn_shared
from tests.support.demand_series import a_series, of_values

NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
QUICK = LightGBMQuantiles(rounds=25, rows=4000)
KEYS = [SeriesKey(f"shop/s{number}", "requests_per_second", "Sum") for number in range(3)]
STRANGER = SeriesKey("shop/new", "requests_per_second", "Sum")


def a_shop(number: int, days: float = 14) -> Series:
    series = a_series(days=days, seed=number, weekend=0.5)
    return replace(series, name=str(number), values=series.values * 10.0**number)


@cache
def learned() -> LearnedShared:
    series = {key: a_shop(number) for number, key in enumerate(KEYS)}
    return learn_shared(series, SharedLightGBM(replace(QUICK, rows=9000)))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "models")
    publish_shared(registry, NOW)
    return registry


def publish_shared(registry: Registry, at: datetime, found: LearnedShared | None = None) -> str:
    found = found or learned()
    return publish(registry, SHARED, found.learned, at, (), found.judged).version


def a_shelf(registry: Registry, in_memory: int = 10) -> ModelStore:
    return ModelStore(registry.folder, timeout_seconds=60, in_memory=in_memory)


def wanted(series: Series, key: SeriesKey = STRANGER, choice: ModelChoice = ModelChoice.AUTO) -> ForecastRequest:
    return ForecastRequest(key, series, choice, steps=8)


def test_it_beats_the_naive_models_on_the_series_that_it_learned_from() -> None:
    found = learned()
    assert found.learned.verdict.passed
    assert found.learned.verdict.acting == NAME
    assert [one.key for one in found.judged] == KEYS
    assert all(one.verdict.passed for one in found.judged)


def test_one_series_tells_another_nothing_of_what_was_to_come() -> None:
    series = {key: a_shop(number) for number, key in enumerate(KEYS)}
    wild = series[KEYS[2]].values.copy()
    wild[-96 * 3 :] *= np.random.default_rng(1).lognormal(0, 2, 96 * 3)
    again = learn_shared({**series, KEYS[2]: replace(series[KEYS[2]], values=wild)}, SharedLightGBM(QUICK))
    before = learn_shared(series, SharedLightGBM(QUICK))
    for at in (0, 1):
        assert again.judged[at].verdict == before.judged[at].verdict
    assert again.judged[2].verdict != before.judged[2].verdict


@pytest.mark.parametrize("series", [{}, {STRANGER: of_values(1, 2, 3)}, {STRANGER: of_values(*[0.0] * 900)}], ids=len)
def test_nothing_to_learn_from_is_said(series: dict[SeriesKey, Series]) -> None:
    with pytest.raises(TooShortError):
        learn_shared(series, SharedLightGBM(QUICK))


async def test_a_new_series_is_forecast_at_once_and_widened_by_its_youth(registry: Registry) -> None:
    model_store = a_shelf(registry)
    await model_store.refresh()
    young = replace(a_shop(1, days=8), values=a_shop(1, days=8).values[-8:])
    old = a_shop(1, days=8)
    forecasts = model_store.forecast({"young": wanted(young), "old": wanted(old, SeriesKey("old", "rps", "Sum"))})
    assert {forecast.model for forecast in forecasts.values()} == {NAME}
    assert {forecast.version for forecast in forecasts.values()} == {model_store.models()[SHARED].version}
    bands = {name: float((one.values[:, 3] / one.values[:, 1]).mean()) for name, one in forecasts.items()}
    assert bands["young"] > 1.4 * bands["old"]


async def test_its_bands_follow_each_series_own_errors(registry: Registry) -> None:
    model_store, newcomer = a_shelf(registry), a_shelf(registry)
    await model_store.refresh()
    await newcomer.refresh()
    calm = a_shop(1, days=11)
    noise = np.random.default_rng(2).lognormal(0, 0.7, len(calm.values))
    wild = replace(calm, values=calm.values * noise)
    other = SeriesKey("shop/wild", "requests_per_second", "Sum")
    for bins in range(8 * 96, 11 * 96):
        cut = {
            key: wanted(replace(one, values=one.values[:bins]), key) for key, one in ((STRANGER, calm), (other, wild))
        }
        model_store.forecast(cut)
    widths: list[dict[SeriesKey, float]] = []
    for one in (model_store, newcomer):
        made = one.forecast({STRANGER: wanted(calm), other: wanted(wild, other)})
        widths.append({key: float(forecast.values[0, 3] / forecast.values[0, 1]) for key, forecast in made.items()})
    assert widths[0][other] > 1.3 * widths[1][other]
    assert widths[0][STRANGER] < 1.1 * widths[1][STRANGER]


async def test_it_takes_less_than_100_kb_a_series(registry: Registry) -> None:
    model_store = a_shelf(registry)
    await model_store.refresh()
    series = a_shop(1, days=8)
    names = [SeriesKey(f"many/{number}", "rps", "Sum") for number in range(40)]
    model_store.forecast({key: wanted(series, key) for key in names[:2]})
    tracemalloc.start()
    kept = model_store.forecast({key: wanted(series, key) for key in names[2:]})
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 38
    assert 40_000 < grown / 38 < 100_000


async def test_who_has_no_model_that_acts_gets_the_shared_one(registry: Registry) -> None:
    refused = replace(own(), verdict=replace(own().verdict, passed=False, acting="LastValue"))
    publish(registry, KEYS[0], refused, NOW)
    publish(registry, KEYS[1], own(), NOW)
    model_store = a_shelf(registry)
    await model_store.refresh()
    made = model_store.forecast({key: wanted(a_shop(number), key) for number, key in enumerate(KEYS)})
    assert [made[key].model for key in KEYS] == [NAME, "LightGBM", NAME]


async def test_a_policy_that_asks_for_another_model_does_not_get_it(registry: Registry) -> None:
    model_store = a_shelf(registry)
    await model_store.refresh()
    made = model_store.forecast({choice: wanted(a_shop(0), KEYS[0], choice) for choice in ModelChoice})
    assert [made[choice].model for choice in ModelChoice] == [NAME, NAME, "HoltWinters", "SeasonalNaive"]


async def test_where_it_did_worse_than_a_naive_model_it_does_not_act(registry: Registry) -> None:
    first = learned().judged[0]
    refused = replace(first, verdict=replace(first.verdict, passed=False, acting="LastValue"))
    publish_shared(registry, NOW + timedelta(hours=1), replace(learned(), judged=(refused, *learned().judged[1:])))
    model_store = a_shelf(registry)
    await model_store.refresh()
    made = model_store.forecast({key: wanted(a_shop(number), key) for number, key in enumerate(KEYS)})
    assert made[KEYS[0]].model in {"LastValue", "SeasonalNaive"}
    assert [made[key].model for key in KEYS[1:]] == [NAME, NAME]


async def test_only_so_many_own_models_are_in_memory_and_the_rest_are_served_by_it(registry: Registry) -> None:
    for key in KEYS:
        publish(registry, key, own(), NOW)
    model_store = a_shelf(registry, in_memory=1)
    await model_store.refresh()
    assert set(model_store.models()) == {*KEYS, SHARED}
    turns = [model_store.forecast({key: wanted(a_shop(at), key) for at, key in enumerate(KEYS)}) for _ in range(3)]
    models = [{key: one.model for key, one in made.items()} for made in turns]
    assert sorted(models[0].values()) == ["LightGBM", NAME, NAME]
    assert models == [models[0]] * 3, "who is in memory stays there while it is used"
    (chosen,) = [key for key, model in models[0].items() if model == "LightGBM"]
    alone = a_shelf(registry, in_memory=0)
    await alone.refresh()
    assert alone.forecast({chosen: wanted(a_shop(0), chosen)})[chosen].model == NAME


async def test_an_own_model_is_read_again_when_it_is_wanted(registry: Registry) -> None:
    for key in KEYS[:2]:
        publish(registry, key, own(), NOW)
    model_store = a_shelf(registry, in_memory=1)
    await model_store.refresh()
    first, second = (model_store.forecast({key: wanted(a_shop(0), key)})[key].model for key in KEYS[:2])
    # Nobody had asked for the one in memory, so it made room for the first; the second finds that one in use.
    assert (first, second) == ("LightGBM", NAME)


def test_who_is_no_longer_asked_for_makes_room() -> None:
    now, reads = [0.0], list[SeriesKey]()
    residents = ModelCache(1, lambda: now[0])

    def ask(key: SeriesKey) -> bool:
        def load() -> Loaded:
            reads.append(key)
            return a_loaded(key)

        return residents.get(key, "v1", load) is not None

    assert [ask(KEYS[0]), ask(KEYS[1]), ask(KEYS[0])] == [True, False, True]
    now[0] = IDLE_SECONDS + 1
    assert [ask(KEYS[1]), ask(KEYS[0])] == [True, False]
    assert reads == [KEYS[0], KEYS[1]]


@cache
def own() -> Learned:
    return learn(a_shop(0), QUICK)


def a_loaded(key: SeriesKey) -> Loaded:
    with TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        version = publish(registry, key, own(), NOW).version
        return load(check(registry.path(key.slug, version)))


async def test_another_model_acts_at_the_horizons_where_it_is_better(registry: Registry) -> None:
    table = (ActingRecord(horizon=2, model="LastValue"), ActingRecord(horizon=8, model="LightGBM"))
    manifest = publish(registry, KEYS[0], own(), NOW)
    path = registry.path(KEYS[0].slug, manifest.version) / "manifest.json"
    series = a_shop(0)
    found: list[np.ndarray] = []
    for by_horizon in ((), table):
        gate = manifest.gate.model_copy(update={"by_horizon": by_horizon})
        path.write_text(manifest.model_copy(update={"gate": gate}).model_dump_json())
        model_store = a_shelf(registry)
        await model_store.refresh()
        made = model_store.forecast({"a": wanted(series, KEYS[0])})["a"]
        assert made.model == "LightGBM"
        found.append(made.values)
    assert found[1][:2, 1] == pytest.approx([series.values[-1]] * 2, rel=0.1)
    assert not np.array_equal(found[0][:2], found[1][:2])
    assert np.array_equal(found[0][2:], found[1][2:])


async def test_every_forecast_of_a_batch_can_be_explained(registry: Registry) -> None:
    model_store = a_shelf(registry)
    await model_store.refresh()
    names = [SeriesKey(f"many/{number}", "rps", "Sum") for number in range(120)]
    made = model_store.forecast({key: wanted(a_shop(1, days=8), key) for key in names})
    assert all("%)" in made[key].contributions[0] for key in (names[0], names[-1]))
    assert 1 <= len(made[names[60]].contributions) <= 3


async def test_it_is_rolled_back_like_any_other(registry: Registry) -> None:
    newer = publish_shared(registry, NOW + timedelta(days=1))
    model_store = a_shelf(registry)
    await model_store.refresh()
    assert model_store.models()[SHARED].version == newer
    back = roll_back(registry, SHARED, NOW + timedelta(days=2))
    (told,) = (await model_store.refresh()).reloaded
    assert (told.key, told.version) == (SHARED, back.version)
    assert model_store.models()[SHARED].version == back.version != newer
    assert SHARED in model_store.rolled_back()


async def test_what_is_damaged_of_it_is_refused(registry: Registry) -> None:
    folder = registry.path(SHARED.slug, registry.versions(SHARED.slug)[0])
    (folder / "members.json").write_text("[]")
    model_store = a_shelf(registry)
    (refused,) = (await model_store.refresh()).rejected
    assert "members.json: expected" in refused.reason
    assert model_store.forecast({"a": wanted(a_shop(0))})["a"].model in {"LastValue", "SeasonalNaive"}


async def test_without_it_the_naive_models_answer_again(registry: Registry) -> None:
    model_store = a_shelf(registry)
    await model_store.refresh()
    shutil.rmtree(registry.folder / SHARED.slug)
    await model_store.refresh()
    assert SHARED not in model_store.models()
    assert model_store.forecast({"a": wanted(a_shop(0))})["a"].model in {"LastValue", "SeasonalNaive"}


async def test_a_model_answers_only_where_its_clocks_go_and_its_holidays_are(registry: Registry) -> None:
    at_home = a_shop(0)
    publish(registry, KEYS[0], own(), NOW)
    model_store = a_shelf(registry)
    await model_store.refresh()
    abroad = replace(at_home, context=Context(ZoneInfo("Europe/Paris"), "FR"))
    models = [model_store.forecast({"a": wanted(one, KEYS[0])})["a"].model for one in (at_home, abroad)]
    assert models == ["LightGBM", NAME]
    moved = learn(abroad, QUICK)
    assert publish(registry, KEYS[0], moved, NOW + timedelta(hours=1)).place == ("Europe/Paris", "FR")
    await model_store.refresh()
    models = [model_store.forecast({"a": wanted(one, KEYS[0])})["a"].model for one in (at_home, abroad)]
    assert models == [NAME, "LightGBM"]
