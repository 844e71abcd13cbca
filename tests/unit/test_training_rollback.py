"""The promotion history of a series, and rolling back to an earlier version."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecasting.learning import LearnedModels, learn
from forecasting.models.lightgbm_quantiles import LightGBMQuantiles
from predictive_scaling.__main__ import app
from predictive_scaling.api.stored_models import stored_models
from predictive_scaling.errors import NoEarlierModelError
from predictive_scaling.models.promotion_history import (
    MAX_ENTRIES,
    PROMOTION_HISTORY,
    Entry,
    Outcome,
    entries,
    record,
    rollback_entry,
)
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.serving.model_store import ModelStore
from tests.fixtures.models import FAST_MODEL
from tests.support.demand_series import a_series, of_values

KEY = SeriesKey("shop/checkout", "requests_per_second", "Sum")
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def good_model() -> LearnedModels:
    return learn(a_series(days=14, weekend=0.4), FAST_MODEL)


@pytest.fixture(scope="module")
def naive_model() -> LearnedModels:
    return learn(of_values(*[5.0] * 90), LightGBMQuantiles(rounds=3, peak_rounds=3))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def versions(registry: Registry, good_model: LearnedModels, naive_model: LearnedModels) -> list[str]:
    """Versions of three daily trainings, newest first; the newest did not pass the gate."""
    for day, model in enumerate([good_model, good_model, naive_model]):
        publish(registry, KEY, model, NOW + day * DAY)
    return registry.versions(KEY.slug)


def series_folder(registry: Registry) -> Path:
    return registry.folder / KEY.slug


def test_each_training_is_recorded_with_the_verdict_of_the_gate(registry: Registry, versions: list[str]) -> None:
    first, second, third = entries(series_folder(registry))
    assert [entry.outcome for entry in (first, second, third)] == [Outcome.PROMOTED, Outcome.PROMOTED, Outcome.REJECTED]
    assert [entry.version for entry in (third, second, first)] == versions
    assert (first.previous, second.previous, third.previous) == (None, first.version, second.version)
    assert "LightGBM acts: it costs" in first.evidence
    assert third.at == NOW + 2 * DAY


def test_a_rollback_uses_the_previous_version_and_is_recorded(registry: Registry, versions: list[str]) -> None:
    rollback = roll_back(registry, KEY, NOW + 3 * DAY)
    assert (rollback.version, rollback.previous, rollback.acting) == (versions[1], versions[0], "LightGBM")
    assert registry.current(KEY.slug) == versions[1]
    newest = entries(series_folder(registry))[-1]
    assert (newest.outcome, newest.version, newest.previous) == (Outcome.ROLLED_BACK, versions[1], versions[0])
    assert newest.evidence.startswith(f"rolled back from {versions[0]}; when it was trained: LightGBM acts")
    assert roll_back(registry, KEY, NOW + 3 * DAY).version == versions[2], "a second rollback goes one version further"


async def test_a_running_operator_loads_a_rollback_without_a_restart(
    registry: Registry, versions: list[str], good_model: LearnedModels
) -> None:
    model_store = ModelStore(registry.folder, timeout_seconds=60)
    await model_store.refresh()
    assert model_store.models()[KEY].version == versions[0]
    assert model_store.rolled_back() == {}
    roll_back(registry, KEY, NOW + 3 * DAY)
    (reloaded,) = (await model_store.refresh()).reloaded
    assert (reloaded.version, reloaded.rolled_back_at) == (versions[1], NOW + 3 * DAY)
    assert reloaded.verdict.startswith("rolled back from")
    assert model_store.rolled_back() == {KEY: NOW + 3 * DAY}
    publish(registry, KEY, good_model, NOW + 5 * DAY)
    await model_store.refresh()
    assert model_store.rolled_back() == {}, "a new training ends the rollback"


def test_a_rollback_skips_a_damaged_version(registry: Registry, versions: list[str]) -> None:
    (registry.path(KEY.slug, versions[1]) / "q0500.txt").write_text("half a mod")
    assert roll_back(registry, KEY, NOW).version == versions[2]


def test_a_rollback_without_an_earlier_version_is_refused(registry: Registry, good_model: LearnedModels) -> None:
    with pytest.raises(NoEarlierModelError, match="has no version in use"):
        roll_back(registry, KEY, NOW)
    only = publish(registry, KEY, good_model, NOW).version
    with pytest.raises(NoEarlierModelError, match=f"has no intact version before {only}"):
        roll_back(registry, KEY, NOW)
    assert registry.current(KEY.slug) == only


def test_the_api_lists_the_promotion_history_newest_first(registry: Registry, versions: list[str]) -> None:
    roll_back(registry, KEY, NOW + 3 * DAY)
    (model,) = stored_models(registry).models
    assert model.version == versions[1]
    assert [change.outcome for change in model.history] == ["rolled_back", "rejected", "promoted", "promoted"]
    assert model.history[0].previous == versions[0]
    assert model.history[0].evidence.startswith("rolled back from")


def an_entry(number: int) -> Entry:
    return Entry(at=NOW, outcome=Outcome.PROMOTED, version=str(number), previous=None, evidence="é")


def test_the_promotion_history_keeps_the_newest_entries_and_survives_damage(tmp_path: Path) -> None:
    for number in range(MAX_ENTRIES + 5):
        record(tmp_path, an_entry(number))
    assert [entry.version for entry in entries(tmp_path)] == [str(number) for number in range(5, MAX_ENTRIES + 5)]
    with (tmp_path / PROMOTION_HISTORY).open("ab") as file:
        file.write(b'{"at": "not\n\xff\n')
    assert len(entries(tmp_path)) == MAX_ENTRIES
    record(tmp_path, an_entry(999))
    assert entries(tmp_path)[-1].version == "999"


def test_a_missing_or_linked_promotion_history_is_empty(tmp_path: Path) -> None:
    assert entries(tmp_path / "nowhere") == []
    record(tmp_path, an_entry(1))
    other = tmp_path / "other"
    other.mkdir()
    (other / PROMOTION_HISTORY).symlink_to(tmp_path / PROMOTION_HISTORY)
    assert entries(other) == []
    assert rollback_entry(tmp_path, "1") is None, "it was promoted, not rolled back to"


def test_the_train_command_rolls_back(registry: Registry, versions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_MODELS_DIR", str(registry.folder))
    result = CliRunner().invoke(app, ["train", "--rollback", KEY.service, "--output", "json"])
    assert result.exit_code == 0
    (rollback,) = json.loads(result.stdout)["rolled_back"]
    assert (rollback["service"], rollback["version"], rollback["previous"]) == (KEY.service, versions[1], versions[0])
    assert isinstance(CliRunner().invoke(app, ["train", "--rollback", "other"]).exception, NoEarlierModelError)
    assert "remove --service" in str(CliRunner().invoke(app, ["train", "--rollback", "a", "--every", "1h"]).exception)
