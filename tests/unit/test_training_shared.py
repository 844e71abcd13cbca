"""The model shared by many series: which series it serves, from when on, and what it costs."""

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
from forecasting.forecaster import ModelChoice, TooShortError
from forecasting.learning import LearnedModels, learn
from forecasting.models.shared import NAME, SharedLightGBM
from forecasting.series import Series
from predictive_scaling.models.loading import Loaded, check, load
from predictive_scaling.models.manifest import ActingRecord
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.models.shared_members import LearnedShared
from predictive_scaling.resources.series_key import SHARED, SeriesKey
from predictive_scaling.serving.model_cache import IDLE_SECONDS, ModelCache
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore
from predictive_scaling.training.shared_learning import learn_shared
from tests.fixtures.models import FAST_MODEL
from tests.support.demand_series import a_series, of_values

NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
KEYS = [SeriesKey(f"shop/s{number}", "requests_per_second", "Sum") for number in range(3)]
UNSEEN = SeriesKey("shop/new", "requests_per_second", "Sum")


def a_shop_series(number: int, days: float = 14) -> Series:
    series = a_series(days=days, seed=number, weekend=0.5)
    return replace(series, name=str(number), values=series.values * 10.0**number)


MODEL = SharedLightGBM(replace(FAST_MODEL, rows=9000))


@cache
def learned_shared() -> LearnedShared:
    return learn_shared({key: a_shop_series(number) for number, key in enumerate(KEYS)}, MODEL)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a registry with the shared model."""
    folder = tmp_path_factory.mktemp("published")
    publish_shared(Registry(folder), NOW)
    return folder


@pytest.fixture
def registry(tmp_path: Path, published: Path) -> Registry:
    return Registry(Path(shutil.copytree(published, tmp_path / "models", symlinks=True)))


def publish_shared(registry: Registry, at: datetime, shared: LearnedShared | None = None) -> str:
    shared = shared or learned_shared()
    return publish(registry, SHARED, shared.learned, at, (), shared.judged).version


def a_model_store(registry: Registry, in_memory: int = 10) -> ModelStore:
    return ModelStore(registry.folder, timeout_seconds=60, in_memory=in_memory)


def a_request(series: Series, key: SeriesKey = UNSEEN, choice: ModelChoice = ModelChoice.AUTO) -> ForecastRequest:
    return ForecastRequest(key, series, choice, steps=8)


def test_the_shared_model_beats_the_naive_models_on_its_own_series() -> None:
    shared = learned_shared()
    assert shared.learned.verdict.passed
    assert shared.learned.verdict.acting == NAME
    assert [member.key for member in shared.judged] == KEYS
    assert all(member.verdict.passed for member in shared.judged)


def test_the_future_of_one_series_does_not_leak_into_the_verdict_of_another() -> None:
    series = {key: a_shop_series(number) for number, key in enumerate(KEYS)}
    wild = series[KEYS[2]].values.copy()
    wild[-96 * 3 :] *= np.random.default_rng(1).lognormal(0, 2, 96 * 3)
    relearned = learn_shared({**series, KEYS[2]: replace(series[KEYS[2]], values=wild)}, MODEL)
    original = learned_shared()
    for member in (0, 1):
        assert relearned.judged[member].verdict == original.judged[member].verdict
    assert relearned.judged[2].verdict != original.judged[2].verdict


def test_a_series_that_ended_before_the_holdout_does_not_prevent_the_training() -> None:
    series = {key: a_shop_series(number) for number, key in enumerate(KEYS)}
    ended = replace(series[KEYS[2]], values=series[KEYS[2]].values[: -96 * 8])
    shared = learn_shared({**series, KEYS[2]: ended}, SharedLightGBM(FAST_MODEL))
    assert [member.key for member in shared.judged] == KEYS[:2]


@pytest.mark.parametrize("series", [{}, {UNSEEN: of_values(1, 2, 3)}, {UNSEEN: of_values(*[0.0] * 900)}], ids=len)
def test_series_without_enough_data_are_too_short_to_learn_from(series: dict[SeriesKey, Series]) -> None:
    with pytest.raises(TooShortError):
        learn_shared(series, SharedLightGBM(FAST_MODEL))


async def test_a_new_series_is_forecast_at_once_with_a_wider_band(registry: Registry) -> None:
    model_store = a_model_store(registry)
    await model_store.refresh()
    young = replace(a_shop_series(1, days=8), values=a_shop_series(1, days=8).values[-8:])
    old = a_shop_series(1, days=8)
    forecasts = model_store.forecast({"young": a_request(young), "old": a_request(old, SeriesKey("old", "rps", "Sum"))})
    assert {forecast.model for forecast in forecasts.values()} == {NAME}
    assert {forecast.version for forecast in forecasts.values()} == {model_store.models()[SHARED].version}
    bands = {
        name: float((forecast.values[:, 3] / forecast.values[:, 1]).mean()) for name, forecast in forecasts.items()
    }
    assert bands["young"] > 1.4 * bands["old"]


async def test_the_bands_of_the_shared_model_follow_the_errors_of_each_series(registry: Registry) -> None:
    model_store, restarted_store = a_model_store(registry), a_model_store(registry)
    await model_store.refresh()
    await restarted_store.refresh()
    calm = a_shop_series(1, days=11)
    noise = np.random.default_rng(2).lognormal(0, 0.7, len(calm.values))
    wild = replace(calm, values=calm.values * noise)
    other = SeriesKey("shop/wild", "requests_per_second", "Sum")
    for bins in range(8 * 96, 11 * 96):
        requests = {
            key: a_request(replace(series, values=series.values[:bins]), key)
            for key, series in ((UNSEEN, calm), (other, wild))
        }
        model_store.forecast(requests)
    widths: list[dict[SeriesKey, float]] = []
    for store in (model_store, restarted_store):
        forecasts = store.forecast({UNSEEN: a_request(calm), other: a_request(wild, other)})
        widths.append(
            {key: float(forecast.values[0, 3] / forecast.values[0, 1]) for key, forecast in forecasts.items()}
        )
    assert widths[0][other] > 1.3 * widths[1][other]
    assert widths[0][UNSEEN] < 1.1 * widths[1][UNSEEN]


async def test_the_shared_model_uses_less_than_100_kb_per_series(registry: Registry) -> None:
    model_store = a_model_store(registry)
    await model_store.refresh()
    series = a_shop_series(1, days=8)
    names = [SeriesKey(f"many/{number}", "rps", "Sum") for number in range(40)]
    model_store.forecast({key: a_request(series, key) for key in names[:2]})
    tracemalloc.start()
    forecasts = model_store.forecast({key: a_request(series, key) for key in names[2:]})
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(forecasts) == 38
    assert 40_000 < allocated / 38 < 100_000


async def test_a_series_without_an_acting_model_is_served_by_the_shared_model(registry: Registry) -> None:
    rejected = replace(own_model(), verdict=replace(own_model().verdict, passed=False, acting="LastValue"))
    publish(registry, KEYS[0], rejected, NOW)
    publish(registry, KEYS[1], own_model(), NOW)
    model_store = a_model_store(registry)
    await model_store.refresh()
    forecasts = model_store.forecast({key: a_request(a_shop_series(number), key) for number, key in enumerate(KEYS)})
    assert [forecasts[key].model for key in KEYS] == [NAME, "LightGBM", NAME]


async def test_a_policy_that_names_another_model_is_not_served_by_the_shared_model(registry: Registry) -> None:
    model_store = a_model_store(registry)
    await model_store.refresh()
    forecasts = model_store.forecast({choice: a_request(a_shop_series(0), KEYS[0], choice) for choice in ModelChoice})
    assert [forecasts[choice].model for choice in ModelChoice] == [NAME, NAME, "HoltWinters", "SeasonalNaive"]


async def test_the_shared_model_does_not_act_for_a_series_where_a_naive_model_is_better(registry: Registry) -> None:
    first = learned_shared().judged[0]
    rejected = replace(first, verdict=replace(first.verdict, passed=False, acting="LastValue"))
    publish_shared(
        registry, NOW + timedelta(hours=1), replace(learned_shared(), judged=(rejected, *learned_shared().judged[1:]))
    )
    model_store = a_model_store(registry)
    await model_store.refresh()
    forecasts = model_store.forecast({key: a_request(a_shop_series(number), key) for number, key in enumerate(KEYS)})
    assert forecasts[KEYS[0]].model in {"LastValue", "SeasonalNaive"}
    assert [forecasts[key].model for key in KEYS[1:]] == [NAME, NAME]


async def test_the_cache_is_bounded_and_the_shared_model_serves_the_other_series(registry: Registry) -> None:
    for key in KEYS:
        publish(registry, key, own_model(), NOW)
    model_store = a_model_store(registry, in_memory=1)
    await model_store.refresh()
    assert set(model_store.models()) == {*KEYS, SHARED}
    requests = {key: a_request(a_shop_series(number), key) for number, key in enumerate(KEYS)}
    batches = [model_store.forecast(requests) for _ in range(3)]
    models = [{key: forecast.model for key, forecast in batch.items()} for batch in batches]
    assert sorted(models[0].values()) == ["LightGBM", NAME, NAME]
    assert models == [models[0]] * 3, "a model stays in memory while it is used"
    (cached,) = [key for key, model in models[0].items() if model == "LightGBM"]
    uncached_store = a_model_store(registry, in_memory=0)
    await uncached_store.refresh()
    assert uncached_store.forecast({cached: a_request(a_shop_series(0), cached)})[cached].model == NAME


async def test_an_evicted_model_is_loaded_again_on_request(registry: Registry) -> None:
    for key in KEYS[:2]:
        publish(registry, key, own_model(), NOW)
    model_store = a_model_store(registry, in_memory=1)
    await model_store.refresh()
    first, second = (model_store.forecast({key: a_request(a_shop_series(0), key)})[key].model for key in KEYS[:2])
    # The cached model was not requested, so the first request evicts it; the first model is in use, so it stays.
    assert (first, second) == ("LightGBM", NAME)


def test_a_model_that_is_not_requested_any_more_is_evicted() -> None:
    now, reads = [0.0], list[SeriesKey]()
    model_cache = ModelCache(1, lambda: now[0])

    def is_cached(key: SeriesKey) -> bool:
        def load() -> Loaded:
            reads.append(key)
            return a_loaded_model(key)

        return model_cache.get(key, "v1", load) is not None

    assert [is_cached(KEYS[0]), is_cached(KEYS[1]), is_cached(KEYS[0])] == [True, False, True]
    now[0] = IDLE_SECONDS + 1
    assert [is_cached(KEYS[1]), is_cached(KEYS[0])] == [True, False]
    assert reads == [KEYS[0], KEYS[1]]


@cache
def own_model() -> LearnedModels:
    return learn(a_shop_series(0), FAST_MODEL)


def a_loaded_model(key: SeriesKey) -> Loaded:
    with TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        version = publish(registry, key, own_model(), NOW).version
        return load(check(registry.path(key.slug, version)))


async def test_a_better_model_acts_at_its_horizons(registry: Registry) -> None:
    table = (ActingRecord(horizon=2, model="LastValue"), ActingRecord(horizon=8, model="LightGBM"))
    manifest = publish(registry, KEYS[0], own_model(), NOW)
    path = registry.path(KEYS[0].slug, manifest.version) / "manifest.json"
    series = a_shop_series(0)
    quantiles_by_table: list[np.ndarray] = []
    for by_horizon in ((), table):
        gate = manifest.gate.model_copy(update={"by_horizon": by_horizon})
        path.write_text(manifest.model_copy(update={"gate": gate}).model_dump_json())
        model_store = a_model_store(registry)
        await model_store.refresh()
        forecast = model_store.forecast({"a": a_request(series, KEYS[0])})["a"]
        assert forecast.model == "LightGBM"
        quantiles_by_table.append(forecast.values)
    assert quantiles_by_table[1][:2, 1] == pytest.approx([series.values[-1]] * 2, rel=0.1)
    assert not np.array_equal(quantiles_by_table[0][:2], quantiles_by_table[1][:2])
    assert np.array_equal(quantiles_by_table[0][2:], quantiles_by_table[1][2:])


async def test_every_forecast_of_a_batch_has_contributions(registry: Registry) -> None:
    model_store = a_model_store(registry)
    await model_store.refresh()
    names = [SeriesKey(f"many/{number}", "rps", "Sum") for number in range(120)]
    forecasts = model_store.forecast({key: a_request(a_shop_series(1, days=8), key) for key in names})
    assert all("%)" in forecasts[key].contributions[0] for key in (names[0], names[-1]))
    assert 1 <= len(forecasts[names[60]].contributions) <= 3


async def test_the_shared_model_is_rolled_back_like_any_other_model(registry: Registry) -> None:
    newer = publish_shared(registry, NOW + timedelta(days=1))
    model_store = a_model_store(registry)
    await model_store.refresh()
    assert model_store.models()[SHARED].version == newer
    restored = roll_back(registry, SHARED, NOW + timedelta(days=2))
    (reloaded,) = (await model_store.refresh()).reloaded
    assert (reloaded.key, reloaded.version) == (SHARED, restored.version)
    assert model_store.models()[SHARED].version == restored.version != newer
    assert SHARED in model_store.rolled_back()


async def test_a_damaged_shared_model_is_rejected(registry: Registry) -> None:
    folder = registry.path(SHARED.slug, registry.versions(SHARED.slug)[0])
    (folder / "members.json").write_text("[]")
    model_store = a_model_store(registry)
    (rejected,) = (await model_store.refresh()).rejected
    assert "members.json: expected" in rejected.reason
    assert model_store.forecast({"a": a_request(a_shop_series(0))})["a"].model in {"LastValue", "SeasonalNaive"}


async def test_without_a_shared_model_the_naive_models_act_again(registry: Registry) -> None:
    model_store = a_model_store(registry)
    await model_store.refresh()
    shutil.rmtree(registry.folder / SHARED.slug)
    await model_store.refresh()
    assert SHARED not in model_store.models()
    assert model_store.forecast({"a": a_request(a_shop_series(0))})["a"].model in {"LastValue", "SeasonalNaive"}


async def test_a_model_serves_only_series_of_its_own_time_zone_and_holidays(registry: Registry) -> None:
    at_home = a_shop_series(0)
    publish(registry, KEYS[0], own_model(), NOW)
    model_store = a_model_store(registry)
    await model_store.refresh()
    abroad = replace(at_home, context=Context(ZoneInfo("Europe/Paris"), "FR"))
    models = [model_store.forecast({"a": a_request(series, KEYS[0])})["a"].model for series in (at_home, abroad)]
    assert models == ["LightGBM", NAME]
    moved = learn(abroad, FAST_MODEL)
    assert publish(registry, KEYS[0], moved, NOW + timedelta(hours=1)).calendar == ("Europe/Paris", "FR")
    await model_store.refresh()
    models = [model_store.forecast({"a": a_request(series, KEYS[0])})["a"].model for series in (at_home, abroad)]
    assert models == [NAME, "LightGBM"]
