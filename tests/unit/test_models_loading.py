"""Damaged, dangerous and deleted models: they are rejected, and an older version or a naive model serves."""

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from forecasting.forecaster import ModelChoice
from forecasting.learning import LearnedModels
from predictive_scaling.errors import ModelRejectedError
from predictive_scaling.models.loading import check, probe
from predictive_scaling.models.manifest import Manifest
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import CURRENT, Registry
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ForecastRequest, ModelStore, ReloadReport
from tests.fixtures.models import HISTORY, KEY, NOW, folder_of

Damage = Callable[[Path], None]
NAIVE = {"LastValue", "SeasonalNaive"}


def a_request() -> ForecastRequest:
    return ForecastRequest(KEY, HISTORY, ModelChoice.AUTO, steps=8)


def _truncate_booster(folder: Path) -> None:
    path = folder / "q0900.txt"
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_bit(folder: Path) -> None:
    path = folder / "q0900.txt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _raise_schema_version(folder: Path) -> None:
    _edit_manifest(folder, schema_version=2)


def _edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _link_booster(folder: Path) -> None:
    target = folder.parent / "elsewhere.txt"
    shutil.copy(folder / "q0900.txt", target)
    (folder / "q0900.txt").unlink()
    (folder / "q0900.txt").symlink_to(target)


def _delete_booster(folder: Path) -> None:
    (folder / "q0500.txt").unlink()


def _delete_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def _write_invalid_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def _manifest_edit(**changes: object) -> Damage:
    return lambda folder: _edit_manifest(folder, **changes)


def _add_pickle(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate_booster, r"q0900.txt: expected \d+ bytes, found \d+"),
        (_flip_a_bit, r"q0900.txt: expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"),
        (_raise_schema_version, "has schema 2, this version reads 1"),
        (_link_booster, "is a link"),
        (_add_pickle, "model.pkl is not in the manifest"),
        (_delete_booster, "q0500.txt cannot be read"),
        (_delete_manifest, "manifest.json cannot be read"),
        (_write_invalid_manifest, "manifest.json: its content: Invalid JSON"),
        (_manifest_edit(service="other"), "belongs to series other/requests_per_second/Sum"),
        (_manifest_edit(features=["lag_1"]), "other features"),
        (_manifest_edit(columns=[0, 99]), "columns expected within"),
        (_manifest_edit(files=[]), "not in the manifest"),
        (_manifest_edit(surprise=1), "surprise"),
    ],
)
async def test_a_damaged_model_is_rejected_and_the_last_good_version_serves(
    registry: Registry,
    model_store: ModelStore,
    learned: LearnedModels,
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


async def test_an_older_good_version_replaces_a_damaged_version_at_start(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    good = publish(registry, KEY, replace(learned, lightgbm=None), NOW)
    _truncate_booster(folder_of(registry, publish(registry, KEY, learned, NOW + timedelta(hours=1))))
    report = await model_store.refresh()
    assert [model.version for model in report.reloaded] == [good.version]
    assert len(report.rejected) == 1


def _rewrite_file(folder: Path, name: str, change: Callable[[str], str]) -> None:
    """Change a file and its checksum in the manifest: damage that the checksum does not detect."""
    path = folder / name
    path.write_text(change(path.read_text()))
    content = path.read_bytes()
    files = json.loads((folder / "manifest.json").read_text())["files"]
    for file in files:
        if file["name"] == name:
            file |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    _edit_manifest(folder, files=files)


def _first_half(text: str) -> str:
    return text[: len(text) // 2]


def _wild_leaves(text: str) -> str:
    return text.replace("leaf_value=", "leaf_value=1e300 ", 3)


def _first_bytes(text: str) -> str:
    return text[:5]


def _cyclic_trees(text: str) -> str:
    return text.replace("left_child=", "left_child=0 0 0 0 ", 30)


@pytest.mark.parametrize("change", [_first_half, _wild_leaves, _first_bytes, _cyclic_trees])
async def test_a_model_that_crashes_or_hangs_the_loader_is_probed_in_a_child_process(
    registry: Registry, learned: LearnedModels, change: Callable[[str], str]
) -> None:
    bad = publish(registry, KEY, learned, NOW)
    _rewrite_file(folder_of(registry, bad), "q0900.txt", change)
    assert check(folder_of(registry, bad)).manifest.version == bad.version, "the checksum is right"
    model_store = ModelStore(registry.folder, timeout_seconds=12)
    report = await model_store.refresh()
    assert report.reloaded == ()
    assert "failed its probe" in report.rejected[0].reason
    assert model_store.forecast({"a": a_request()})["a"].model in NAIVE


async def test_the_probe_rejects_only_the_damaged_model(registry: Registry, learned: LearnedModels) -> None:
    others = [SeriesKey(f"s{number}", "rps", "Sum") for number in range(3)]
    for key in others:
        publish(registry, key, learned, NOW)
    middle = registry.path(others[1].slug, registry.versions(others[1].slug)[0])
    _rewrite_file(middle, "q0100.txt", _first_half)
    folders = [registry.path(key.slug, registry.versions(key.slug)[0]) for key in others]
    assert list(await asyncio.to_thread(probe, folders, 60)) == [middle]


async def test_a_deleted_model_does_not_serve(
    registry: Registry, model_store: ModelStore, learned: LearnedModels
) -> None:
    publish(registry, KEY, learned, NOW)
    await model_store.refresh()
    shutil.rmtree(registry.folder / KEY.slug)
    await model_store.refresh()
    assert model_store.models() == {}
    assert model_store.forecast({"a": a_request()})["a"].model in NAIVE


def test_a_pointer_to_a_missing_version_is_ignored(registry: Registry, published: Manifest) -> None:
    for text in ("20990101T000000Z-00000000", "../..", "é", ""):
        (registry.folder / KEY.slug / CURRENT).write_text(text)
        assert registry.current(KEY.slug) is None
        assert registry.candidates(KEY.slug) == [published.version]
