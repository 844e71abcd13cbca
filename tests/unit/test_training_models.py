"""Training, publishing and serving of the models of a series, and the verdict of the gate."""

import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from forecasting.forecaster import ModelChoice
from forecasting.learning import LearnedModels, learn
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.quality.gate import ActingModel
from forecasting.series import Series
from predictive_scaling.models.loading import check
from predictive_scaling.models.manifest import Manifest, read_manifest
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore, ReloadReport
from tests.fixtures.models import FAST_MODEL, HISTORY, KEY, NOW, folder_of
from tests.support.demand_series import a_series, of_values

NAIVE = {"LastValue", "SeasonalNaive"}


def a_request(
    series: Series = HISTORY, choice: ModelChoice = ModelChoice.AUTO, key: SeriesKey = KEY
) -> ForecastRequest:
    return ForecastRequest(key, series, choice, steps=8)


def test_a_folder_name_is_safe_and_unique_per_key() -> None:
    keys = [SeriesKey("../..", "a/b", "Sum"), SeriesKey("..", "/../a/b", "Sum"), SeriesKey("x" * 300, "é", "Max")]
    slugs = {key.slug for key in keys}
    assert len(slugs) == 3
    assert all(len(slug) < 64 and slug.replace("-", "").isalnum() for slug in slugs)


def test_a_model_that_beats_the_naive_models_passes_the_gate(learned: LearnedModels) -> None:
    assert learned.verdict.passed
    assert learned.verdict.acting == "LightGBM"
    assert learned.holt_winters is not None
    assert np.isfinite(learned.residuals).any()


def test_later_samples_do_not_change_the_verdict(learned: LearnedModels) -> None:
    longer = replace(HISTORY, values=np.concatenate([HISTORY.values, HISTORY.values[:50] * 30]))
    relearned = learn(replace(longer, values=longer.values[: len(HISTORY.values)]), FAST_MODEL)
    assert relearned.verdict == learned.verdict


def test_a_naive_model_acts_on_a_random_walk() -> None:
    walk = np.exp(np.random.default_rng(8).normal(0, 0.05, 1000).cumsum())
    overfitting = LightGBMQuantiles(rounds=3, learning_rate=0.9, leaves=200, rows=3000, peak_rounds=3)
    result = learn(of_values(*walk * 100), overfitting)
    assert not result.verdict.passed
    assert result.verdict.acting == "LastValue"
    assert "LastValue acts because LightGBM" in result.verdict.evidence


@pytest.mark.parametrize("values", [[1.0], [0.0] * 5, [5.0] * 900, [0.0] * 900, [np.nan] * 10 + [3.0] * 40], ids=len)
def test_a_series_without_a_pattern_can_be_published_and_checked(registry: Registry, values: list[float]) -> None:
    result = learn(of_values(*values), FAST_MODEL)
    manifest = publish(registry, KEY, result, NOW)
    assert manifest.gate.acting in {"LastValue", "SeasonalNaive", "HoltWinters", "LightGBM"}
    assert check(folder_of(registry, manifest)).manifest == manifest


def test_a_manifest_has_the_key_the_version_the_scores_and_the_files(registry: Registry, published: Manifest) -> None:
    manifest = read_manifest(folder_of(registry, published))
    assert manifest == published
    assert manifest.key == KEY
    assert manifest.version.startswith("20261116T120000Z-")
    assert manifest.trained_until == HISTORY.end
    assert {score.model for score in manifest.gate.scores} == {"LightGBM", "LastValue", "SeasonalNaive", "HoltWinters"}
    assert {file.name for file in manifest.files} >= {"q0100.txt", "q0950.txt", "residuals.npy"}


def test_the_newest_three_versions_are_kept(registry: Registry, learned: LearnedModels) -> None:
    for day in range(5):
        publish(registry, KEY, learned, NOW + timedelta(days=day))
    kept = registry.versions(KEY.slug)
    assert [version[:8] for version in kept] == ["20261120", "20261119", "20261118"]
    assert registry.current(KEY.slug) == kept[0]
    assert registry.keys() == [KEY]


def test_an_unfinished_folder_is_not_a_version(registry: Registry, published: Manifest) -> None:
    shutil.copytree(folder_of(registry, published), registry.folder / KEY.slug / ".unfinished-20270101T000000Z-1-1")
    assert registry.versions(KEY.slug) == [published.version]


async def test_a_published_model_serves_without_a_restart(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    assert await model_store.refresh() == ReloadReport()
    before = model_store.forecast({"a": a_request()})["a"]
    manifest = publish(registry, KEY, learned, NOW)
    report = await model_store.refresh()
    assert [model.version for model in report.reloaded] == [manifest.version]
    assert report.rejected == ()
    after = model_store.forecast({"a": a_request()})["a"]
    assert before.model in NAIVE
    assert (after.model, after.version) == ("LightGBM", manifest.version)
    assert after.contributions
    assert (np.diff(after.values, axis=1) >= 0).all()
    assert await model_store.refresh() == ReloadReport(), "nothing was published in between"


async def test_a_policy_is_served_by_the_model_that_its_spec_names(
    model_store: ModelStore, published: Manifest
) -> None:
    await model_store.refresh()
    forecasts = model_store.forecast({choice: a_request(choice=choice) for choice in ModelChoice})
    assert {choice.value: forecast.model for choice, forecast in forecasts.items()} == {
        "Auto": "LightGBM",
        "LightGBM": "LightGBM",
        "HoltWinters": "HoltWinters",
        "SeasonalNaive": "SeasonalNaive",
    }
    assert forecasts[ModelChoice.AUTO].version == published.version


async def test_a_model_that_failed_the_gate_does_not_act(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    verdict = replace(learned.verdict, passed=False, acting="LastValue", evidence="LastValue acts, as it must")
    publish(registry, KEY, replace(learned, verdict=verdict), NOW)
    (reloaded,) = (await model_store.refresh()).reloaded
    assert not reloaded.passed
    assert model_store.forecast({"a": a_request()})["a"].model == "LastValue"


def rejected_by_gate(learned: LearnedModels, by_horizon: tuple[ActingModel, ...] = ()) -> LearnedModels:
    """The learned model with a verdict against it: at all horizons, or at those of the table."""
    verdict = replace(learned.verdict, by_horizon=by_horizon, evidence="LastValue acts, as it must")
    return replace(learned, verdict=verdict if by_horizon else replace(verdict, passed=False, acting="LastValue"))


async def test_spec_lightgbm_acts_against_the_gate_with_a_note(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    version = publish(registry, KEY, rejected_by_gate(learned), NOW).version
    await model_store.refresh()
    requests = {choice: a_request(choice=choice) for choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM)}
    forecasts = model_store.forecast(requests)
    auto, explicit = forecasts[ModelChoice.AUTO], forecasts[ModelChoice.LIGHTGBM]
    assert (auto.model, auto.note) == ("LastValue", "")
    assert (explicit.model, explicit.version) == ("LightGBM", version)
    assert explicit.note.startswith("spec.forecast.model is LightGBM, against the verdict")
    assert explicit.note.endswith(": LastValue acts, as it must")
    assert not np.allclose(auto.values, explicit.values)


async def test_spec_lightgbm_acts_at_every_horizon(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    table = (ActingModel(4, "LastValue"), ActingModel(8, "LightGBM"))
    publish(registry, KEY, rejected_by_gate(learned, table), NOW)
    await model_store.refresh()
    requests = {choice: a_request(choice=choice) for choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM)}
    forecasts = model_store.forecast(requests)
    auto, explicit = forecasts[ModelChoice.AUTO], forecasts[ModelChoice.LIGHTGBM]
    assert not np.allclose(auto.values[:4], explicit.values[:4])
    assert np.allclose(auto.values[4:], explicit.values[4:])
    assert (auto.note, "LastValue acts" in explicit.note) == ("", True)


async def test_a_naive_model_replaces_an_untrained_model_with_a_note(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    untrained = model_store.forecast({"a": a_request(choice=ModelChoice.LIGHTGBM)})["a"]
    assert untrained.model in NAIVE
    assert untrained.note.startswith("spec.forecast.model is LightGBM, ")
    assert "cannot forecast" in untrained.note
    publish(registry, KEY, replace(learned, lightgbm=None), NOW)
    await model_store.refresh()
    assert "cannot forecast" in model_store.forecast({"a": a_request(choice=ModelChoice.LIGHTGBM)})["a"].note


async def test_a_named_naive_model_acts_against_the_gate(model_store: ModelStore, published: Manifest) -> None:
    await model_store.refresh()
    for choice in (ModelChoice.SEASONAL_NAIVE, ModelChoice.HOLT_WINTERS):
        forecast = model_store.forecast({"a": a_request(choice=choice)})["a"]
        assert forecast.model == choice.value
        assert forecast.note.startswith(f"spec.forecast.model is {choice.value}, against the verdict")
        assert published.gate.evidence in forecast.note


def test_without_data_there_is_no_forecast(model_store: ModelStore) -> None:
    assert model_store.forecast({"a": a_request(of_values(np.nan, np.nan)), "b": a_request(of_values())}) == {}


@pytest.mark.parametrize("values", [[0.0] * 5, [4.0], [9.0] * 700, [np.nan, 2.0, np.nan]], ids=len)
async def test_a_model_store_forecasts_any_series(
    model_store: ModelStore, published: Manifest, values: list[float]
) -> None:
    await model_store.refresh()
    assert published.gate.passed
    for choice in ModelChoice:
        forecast = model_store.forecast({"a": a_request(of_values(*values), choice)})["a"]
        assert np.isfinite(forecast.values).all()


async def test_a_series_with_another_step_is_forecast_by_a_naive_model(
    model_store: ModelStore, published: Manifest
) -> None:
    await model_store.refresh()
    other = a_series(step=timedelta(minutes=5))
    assert published.resolution_seconds == 900
    assert model_store.forecast({"a": a_request(other)})["a"].model in NAIVE


async def test_bands_follow_the_errors_measured_while_serving(
    registry: Registry, model_store: ModelStore, published: Manifest
) -> None:
    restarted_store = ModelStore(registry.folder, timeout_seconds=60)
    await model_store.refresh()
    await restarted_store.refresh()
    assert published.gate.passed
    wild = a_series(days=18, weekend=0.4).values.copy()
    holdout = len(HISTORY.values)
    wild[holdout:] *= np.random.default_rng(2).lognormal(0, 0.6, len(wild) - holdout)
    for bins in range(holdout, len(wild)):
        model_store.forecast({"a": a_request(replace(HISTORY, values=wild[:bins]))})
    last = a_request(replace(HISTORY, values=wild))
    values = [store.forecast({"a": last})["a"].values for store in (model_store, restarted_store)]
    widths = [float(value[0, 3] / value[0, 1]) for value in values]
    assert widths[0] > 1.2 * widths[1]
