"""From a series to a published version, to a model that serves; and everything that must not get that far."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from forecasting.learning import Learned, learn
from forecasting.model_choice import ModelChoice
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from forecasting.quality.gate import Acting
from forecasting.series import Series
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.loading import check, probe
from predictive_scaling.models.manifest import Manifest, read_manifest
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import CURRENT, Registry
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore, ReloadReport
from tests.support.demand_series import a_series, of_values

KEY = SeriesKey("shop/checkout", "requests_per_second", "Sum")
Damage = Callable[[Path], None]
QUICK = LightGBMQuantiles(rounds=25, rows=4000)
HISTORY = a_series(days=14, weekend=0.4)
NAIVE = {"LastValue", "SeasonalNaive"}
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def learned() -> Learned:
    return learn(HISTORY, QUICK)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def published(registry: Registry, learned: Learned) -> Manifest:
    return publish(registry, KEY, learned, NOW)


@pytest.fixture
def model_store(registry: Registry) -> ModelStore:
    return ModelStore(registry.folder, timeout_seconds=60)


def folder_of(registry: Registry, manifest: Manifest) -> Path:
    return registry.path(KEY.slug, manifest.version)


def wanted(series: Series = HISTORY, choice: ModelChoice = ModelChoice.AUTO, key: SeriesKey = KEY) -> ForecastRequest:
    return ForecastRequest(key, series, choice, steps=8)


def test_a_folder_name_is_safe_and_tells_keys_apart() -> None:
    keys = [SeriesKey("../..", "a/b", "Sum"), SeriesKey("..", "/../a/b", "Sum"), SeriesKey("x" * 300, "é", "Max")]
    slugs = {key.slug for key in keys}
    assert len(slugs) == 3
    assert all(len(slug) < 64 and slug.replace("-", "").isalnum() for slug in slugs)


def test_a_model_that_beats_the_naive_ones_is_let_through(learned: Learned) -> None:
    assert learned.verdict.passed
    assert learned.verdict.acting == "LightGBM"
    assert learned.holt_winters is not None
    assert np.isfinite(learned.residuals).any()


def test_the_verdict_does_not_know_what_comes_after(learned: Learned) -> None:
    longer = replace(HISTORY, values=np.concatenate([HISTORY.values, HISTORY.values[:50] * 30]))
    again = learn(replace(longer, values=longer.values[: len(HISTORY.values)]), QUICK)
    assert again.verdict == learned.verdict


def test_noise_is_left_to_a_naive_model() -> None:
    walk = np.exp(np.random.default_rng(8).normal(0, 0.05, 1000).cumsum())
    found = learn(of_values(*walk * 100), LightGBMQuantiles(rounds=3, learning_rate=0.9, leaves=200, rows=3000))
    assert not found.verdict.passed
    assert found.verdict.acting == "LastValue"
    assert "LastValue acts, as LightGBM" in found.verdict.evidence


@pytest.mark.parametrize("values", [[1.0], [0.0] * 5, [5.0] * 900, [0.0] * 900, [np.nan] * 10 + [3.0] * 40], ids=len)
def test_a_series_to_learn_nothing_from_is_published_as_naive(registry: Registry, values: list[float]) -> None:
    found = learn(of_values(*values), QUICK)
    manifest = publish(registry, KEY, found, NOW)
    assert manifest.gate.acting in {"LastValue", "SeasonalNaive", "HoltWinters", "LightGBM"}
    assert check(folder_of(registry, manifest)).manifest == manifest


def test_a_manifest_tells_what_a_model_is_and_is_worth(registry: Registry, published: Manifest) -> None:
    manifest = read_manifest(folder_of(registry, published))
    assert manifest == published
    assert manifest.key == KEY
    assert manifest.version.startswith("20261116T120000Z-")
    assert manifest.trained_until == HISTORY.end
    assert {score.model for score in manifest.gate.scores} == {"LightGBM", "LastValue", "SeasonalNaive", "HoltWinters"}
    assert {file.name for file in manifest.files} >= {"q0100.txt", "q0950.txt", "residuals.npy"}


def test_three_versions_are_kept(registry: Registry, learned: Learned) -> None:
    for day in range(5):
        publish(registry, KEY, learned, NOW + timedelta(days=day))
    kept = registry.versions(KEY.slug)
    assert [version[:8] for version in kept] == ["20261120", "20261119", "20261118"]
    assert registry.current(KEY.slug) == kept[0]
    assert registry.keys() == [KEY]


def test_what_a_crash_left_half_written_is_no_version(registry: Registry, published: Manifest) -> None:
    shutil.copytree(folder_of(registry, published), registry.folder / KEY.slug / ".unfinished-20270101T000000Z-1-1")
    assert registry.versions(KEY.slug) == [published.version]


async def test_a_published_model_serves_without_a_restart(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    assert await model_store.refresh() == ReloadReport()
    before = model_store.forecast({"a": wanted()})["a"]
    manifest = publish(registry, KEY, learned, NOW)
    report = await model_store.refresh()
    assert [one.version for one in report.reloaded] == [manifest.version]
    assert report.rejected == ()
    after = model_store.forecast({"a": wanted()})["a"]
    assert before.model in NAIVE
    assert (after.model, after.version) == ("LightGBM", manifest.version)
    assert after.contributions
    assert (np.diff(after.values, axis=1) >= 0).all()
    assert await model_store.refresh() == ReloadReport(), "nothing has changed"


async def test_a_policy_gets_the_model_that_it_asks_for(model_store: ModelStore, published: Manifest) -> None:
    await model_store.refresh()
    found = model_store.forecast({choice: wanted(choice=choice) for choice in ModelChoice})
    assert {choice.value: forecast.model for choice, forecast in found.items()} == {
        "Auto": "LightGBM",
        "LightGBM": "LightGBM",
        "HoltWinters": "HoltWinters",
        "SeasonalNaive": "SeasonalNaive",
    }
    assert found[ModelChoice.AUTO].version == published.version


async def test_a_model_that_failed_the_gate_does_not_act(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    verdict = replace(learned.verdict, passed=False, acting="LastValue", evidence="LastValue acts, as it must")
    publish(registry, KEY, replace(learned, verdict=verdict), NOW)
    (reloaded,) = (await model_store.refresh()).reloaded
    assert not reloaded.passed
    assert model_store.forecast({"a": wanted()})["a"].model == "LastValue"


def refused(learned: Learned, by_horizon: tuple[Acting, ...] = ()) -> Learned:
    """As the gate would have it where a naive model did better: at all horizons, or at those of a table."""
    verdict = replace(learned.verdict, by_horizon=by_horizon, evidence="LastValue acts, as it must")
    return replace(learned, verdict=verdict if by_horizon else replace(verdict, passed=False, acting="LastValue"))


async def test_a_policy_that_asks_for_lightgbm_gets_it_against_the_gate_and_is_told(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    version = publish(registry, KEY, refused(learned), NOW).version
    await model_store.refresh()
    found = model_store.forecast({choice: wanted(choice=choice) for choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM)})
    auto, asked = found[ModelChoice.AUTO], found[ModelChoice.LIGHTGBM]
    assert (auto.model, auto.note) == ("LastValue", "")
    assert (asked.model, asked.version) == ("LightGBM", version)
    assert asked.note == (
        "spec.forecast.model is LightGBM, against the verdict on the last days: LastValue acts, as it must"
    )
    assert not np.allclose(auto.values, asked.values)


async def test_a_policy_that_asks_for_lightgbm_gets_it_at_every_horizon(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    table = (Acting(4, "LastValue"), Acting(8, "LightGBM"))
    publish(registry, KEY, refused(learned, table), NOW)
    await model_store.refresh()
    found = model_store.forecast({choice: wanted(choice=choice) for choice in (ModelChoice.AUTO, ModelChoice.LIGHTGBM)})
    auto, asked = found[ModelChoice.AUTO], found[ModelChoice.LIGHTGBM]
    assert not np.allclose(auto.values[:4], asked.values[:4])
    assert np.allclose(auto.values[4:], asked.values[4:])
    assert (auto.note, "LastValue acts" in asked.note) == ("", True)


async def test_a_model_that_cannot_forecast_yet_is_stood_in_for_and_that_is_told(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    untrained = model_store.forecast({"a": wanted(choice=ModelChoice.LIGHTGBM)})["a"]
    assert untrained.model in NAIVE
    assert untrained.note == "spec.forecast.model is LightGBM, which cannot forecast this series yet"
    publish(registry, KEY, replace(learned, lightgbm=None), NOW)
    await model_store.refresh()
    assert "cannot forecast" in model_store.forecast({"a": wanted(choice=ModelChoice.LIGHTGBM)})["a"].note


async def test_the_naive_models_act_against_the_gate_too(model_store: ModelStore, published: Manifest) -> None:
    await model_store.refresh()
    for choice in (ModelChoice.SEASONAL_NAIVE, ModelChoice.HOLT_WINTERS):
        made = model_store.forecast({"a": wanted(choice=choice)})["a"]
        assert made.model == choice.value
        assert made.note.startswith(f"spec.forecast.model is {choice.value}, against the verdict")
        assert published.gate.evidence in made.note


def test_without_data_there_is_no_forecast(model_store: ModelStore) -> None:
    assert model_store.forecast({"a": wanted(of_values(np.nan, np.nan)), "b": wanted(of_values())}) == {}


@pytest.mark.parametrize("values", [[0.0] * 5, [4.0], [9.0] * 700, [np.nan, 2.0, np.nan]], ids=len)
async def test_a_shelf_answers_for_any_series(
    model_store: ModelStore, published: Manifest, values: list[float]
) -> None:
    await model_store.refresh()
    assert published.gate.passed
    for choice in ModelChoice:
        forecast = model_store.forecast({"a": wanted(of_values(*values), choice)})["a"]
        assert np.isfinite(forecast.values).all()


async def test_a_series_of_another_step_is_forecast_naively(model_store: ModelStore, published: Manifest) -> None:
    await model_store.refresh()
    other = a_series(step=timedelta(minutes=5))
    assert published.resolution_seconds == 900
    assert model_store.forecast({"a": wanted(other)})["a"].model in NAIVE


async def test_bands_follow_the_errors_that_are_seen_while_serving(
    registry: Registry, model_store: ModelStore, published: Manifest
) -> None:
    newcomer = ModelStore(registry.folder, timeout_seconds=60)
    await model_store.refresh()
    await newcomer.refresh()
    assert published.gate.passed
    wild = a_series(days=18, weekend=0.4).values.copy()
    begin = len(HISTORY.values)
    wild[begin:] *= np.random.default_rng(2).lognormal(0, 0.6, len(wild) - begin)
    for bins in range(begin, len(wild)):
        model_store.forecast({"a": wanted(replace(HISTORY, values=wild[:bins]))})
    last = wanted(replace(HISTORY, values=wild))
    values = [one.forecast({"a": last})["a"].values for one in (model_store, newcomer)]
    widths = [float(value[0, 3] / value[0, 1]) for value in values]
    assert widths[0] > 1.2 * widths[1]


def _cut(folder: Path) -> None:
    path = folder / "q0900.txt"
    path.write_bytes(path.read_bytes()[:-100])


def _flip(folder: Path) -> None:
    path = folder / "q0900.txt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _newer(folder: Path) -> None:
    _edit(folder, schema_version=2)


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _link(folder: Path) -> None:
    target = folder.parent / "elsewhere.txt"
    shutil.copy(folder / "q0900.txt", target)
    (folder / "q0900.txt").unlink()
    (folder / "q0900.txt").symlink_to(target)


def _without_booster(folder: Path) -> None:
    (folder / "q0500.txt").unlink()


def _without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def _edited(**changes: object) -> Damage:
    return lambda folder: _edit(folder, **changes)


def _pickle(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"q0900.txt: expected \d+ bytes, found \d+"),
        (_flip, r"q0900.txt: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"),
        (_newer, "has schema 2, this version reads 1"),
        (_link, "is a link"),
        (_pickle, "model.pkl is not in the manifest"),
        (_without_booster, "q0500.txt cannot be read"),
        (_without_manifest, "manifest.json cannot be read"),
        (_no_json, "manifest.json: its content: Invalid JSON"),
        (_edited(service="other"), "is of series other/requests_per_second/Sum"),
        (_edited(features=["lag_1"]), "other features"),
        (_edited(columns=[0, 99]), "columns expected within"),
        (_edited(files=[]), "not in the manifest"),
        (_edited(surprise=1), "surprise"),
    ],
)
async def test_a_damaged_model_is_refused_and_the_last_good_one_stays(
    registry: Registry,
    model_store: ModelStore,
    learned: Learned,
    damage: Damage,
    message: str,
) -> None:
    good = publish(registry, KEY, replace(learned, lightgbm=None), NOW)
    await model_store.refresh()
    bad = publish(registry, KEY, learned, NOW + timedelta(hours=1))
    damage(folder_of(registry, bad))
    report = await model_store.refresh()
    assert report.reloaded == ()
    (rejected,) = report.rejected
    with pytest.raises(ModelRejectedError, match=message):
        raise ModelRejectedError(rejected.reason)
    assert "train the model again" in rejected.reason
    assert model_store.models()[KEY].version == good.version
    assert await model_store.refresh() == ReloadReport(), "a refusal is reported once"


async def test_at_a_start_an_older_good_version_serves_in_place_of_a_damaged_one(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    good = publish(registry, KEY, replace(learned, lightgbm=None), NOW)
    _cut(folder_of(registry, publish(registry, KEY, learned, NOW + timedelta(hours=1))))
    report = await model_store.refresh()
    assert [one.version for one in report.reloaded] == [good.version]
    assert len(report.rejected) == 1


def _with_model(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Damage that the checksum does not see: whoever wrote the file wrote the manifest too."""
    path = folder / name
    path.write_text(change(path.read_text()))
    content = path.read_bytes()
    files = json.loads((folder / "manifest.json").read_text())["files"]
    for file in files:
        if file["name"] == name:
            file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    _edit(folder, files=files)


def _half(text: str) -> str:
    return text[: len(text) // 2]


def _wild_leaves(text: str) -> str:
    return text.replace("leaf_value=", "leaf_value=1e300 ", 3)


def _nothing(text: str) -> str:
    return text[:5]


def _loops(text: str) -> str:
    return text.replace("left_child=", "left_child=0 0 0 0 ", 30)


@pytest.mark.parametrize("change", [_half, _wild_leaves, _nothing, _loops])
async def test_what_crashes_or_hangs_the_loader_does_so_in_a_child(
    registry: Registry, learned: Learned, change: Callable[[str], str]
) -> None:
    bad = publish(registry, KEY, learned, NOW)
    _with_model(folder_of(registry, bad), "q0900.txt", change)
    assert check(folder_of(registry, bad)).manifest.version == bad.version, "the checksum is right"
    model_store = ModelStore(registry.folder, timeout_seconds=12)
    report = await model_store.refresh()
    assert report.reloaded == ()
    assert "failed its probe" in report.rejected[0].reason
    assert model_store.forecast({"a": wanted()})["a"].model in NAIVE


async def test_a_bad_model_takes_no_other_with_it(registry: Registry, learned: Learned) -> None:
    others = [SeriesKey(f"s{number}", "rps", "Sum") for number in range(3)]
    for key in others:
        publish(registry, key, learned, NOW)
    middle = registry.path(others[1].slug, registry.versions(others[1].slug)[0])
    _with_model(middle, "q0100.txt", _half)
    folders = [registry.path(key.slug, registry.versions(key.slug)[0]) for key in others]
    assert list(await asyncio.to_thread(probe, folders, 60)) == [middle]


async def test_a_model_that_is_gone_no_longer_serves(
    registry: Registry, model_store: ModelStore, learned: Learned
) -> None:
    publish(registry, KEY, learned, NOW)
    await model_store.refresh()
    shutil.rmtree(registry.folder / KEY.slug)
    await model_store.refresh()
    assert model_store.models() == {}
    assert model_store.forecast({"a": wanted()})["a"].model in NAIVE


def test_a_pointer_to_a_version_that_is_not_there_points_nowhere(registry: Registry, published: Manifest) -> None:
    for text in ("20990101T000000Z-00000000", "../..", "é", ""):
        (registry.folder / KEY.slug / CURRENT).write_text(text)
        assert registry.current(KEY.slug) is None
        assert registry.candidates(KEY.slug) == [published.version]
