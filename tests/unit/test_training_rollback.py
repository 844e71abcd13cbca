"""What became of a series' models is recorded, and a person can go back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forecasting.learning import Learned, learn
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
    was_rolled_back,
)
from predictive_scaling.models.publishing import publish
from predictive_scaling.models.registry import Registry
from predictive_scaling.models.rollback import roll_back
from predictive_scaling.models.series_key import SeriesKey
from predictive_scaling.serving.model_store import ModelStore
from tests.support.demand_series import a_series, of_values

KEY = SeriesKey("shop/checkout", "requests_per_second", "Sum")
NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def good() -> Learned:
    return learn(a_series(days=14, weekend=0.4), LightGBMQuantiles(rounds=25, rows=4000))


@pytest.fixture(scope="module")
def naive() -> Learned:
    return learn(of_values(*[5.0] * 90), LightGBMQuantiles(rounds=3))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def versions(registry: Registry, good: Learned, naive: Learned) -> list[str]:
    """Three days of trainings, the last of which did not pass the gate; newest first."""
    for day, learned in enumerate([good, good, naive]):
        publish(registry, KEY, learned, NOW + day * DAY)
    return registry.versions(KEY.slug)


def folder(registry: Registry) -> Path:
    return registry.folder / KEY.slug


def test_each_training_is_recorded_with_what_the_gate_said(registry: Registry, versions: list[str]) -> None:
    first, second, third = entries(folder(registry))
    assert [one.outcome for one in (first, second, third)] == [Outcome.PROMOTED, Outcome.PROMOTED, Outcome.REJECTED]
    assert [one.version for one in (third, second, first)] == versions
    assert (first.previous, second.previous, third.previous) == (None, first.version, second.version)
    assert "LightGBM acts: it costs" in first.evidence
    assert third.at == NOW + 2 * DAY


def test_going_back_uses_the_version_before_and_says_so(registry: Registry, versions: list[str]) -> None:
    done = roll_back(registry, KEY, NOW + 3 * DAY)
    assert (done.version, done.previous, done.acting) == (versions[1], versions[0], "LightGBM")
    assert registry.current(KEY.slug) == versions[1]
    newest = entries(folder(registry))[-1]
    assert (newest.outcome, newest.version, newest.previous) == (Outcome.ROLLED_BACK, versions[1], versions[0])
    assert newest.evidence.startswith(f"rolled back from {versions[0]}; when it was trained: LightGBM acts")
    assert roll_back(registry, KEY, NOW + 3 * DAY).version == versions[2], "and once more"


async def test_a_running_operator_goes_back_without_a_restart(
    registry: Registry, versions: list[str], good: Learned
) -> None:
    model_store = ModelStore(registry.folder, timeout_seconds=60)
    await model_store.refresh()
    assert model_store.models()[KEY].version == versions[0]
    assert model_store.rolled_back() == {}
    roll_back(registry, KEY, NOW + 3 * DAY)
    (back,) = (await model_store.refresh()).reloaded
    assert (back.version, back.rolled_back_at) == (versions[1], NOW + 3 * DAY)
    assert back.verdict.startswith("rolled back from")
    assert model_store.rolled_back() == {KEY: NOW + 3 * DAY}
    publish(registry, KEY, good, NOW + 5 * DAY)
    await model_store.refresh()
    assert model_store.rolled_back() == {}, "a new training ends it"


def test_a_damaged_version_is_passed_over_on_the_way_back(registry: Registry, versions: list[str]) -> None:
    (registry.path(KEY.slug, versions[1]) / "q0500.txt").write_text("half a mod")
    assert roll_back(registry, KEY, NOW).version == versions[2]


def test_where_there_is_nothing_to_go_back_to_it_says_why(registry: Registry, good: Learned) -> None:
    with pytest.raises(NoEarlierModelError, match="has no version in use"):
        roll_back(registry, KEY, NOW)
    only = publish(registry, KEY, good, NOW).version
    with pytest.raises(NoEarlierModelError, match=f"has no intact version before {only}"):
        roll_back(registry, KEY, NOW)
    assert registry.current(KEY.slug) == only


def test_the_api_shows_what_became_of_a_series_newest_first(registry: Registry, versions: list[str]) -> None:
    roll_back(registry, KEY, NOW + 3 * DAY)
    (model,) = stored_models(registry).models
    assert model.version == versions[1]
    assert [change.outcome for change in model.history] == ["rolled_back", "rejected", "promoted", "promoted"]
    assert model.history[0].previous == versions[0]
    assert model.history[0].evidence.startswith("rolled back from")


def an_entry(number: int) -> Entry:
    return Entry(at=NOW, outcome=Outcome.PROMOTED, version=str(number), previous=None, evidence="é")


def test_a_ledger_keeps_the_newest_and_survives_damage(tmp_path: Path) -> None:
    for number in range(MAX_ENTRIES + 5):
        record(tmp_path, an_entry(number))
    assert [entry.version for entry in entries(tmp_path)] == [str(number) for number in range(5, MAX_ENTRIES + 5)]
    with (tmp_path / PROMOTION_HISTORY).open("ab") as file:
        file.write(b'{"at": "not\n\xff\n')
    assert len(entries(tmp_path)) == MAX_ENTRIES
    record(tmp_path, an_entry(999))
    assert entries(tmp_path)[-1].version == "999"


def test_a_ledger_that_is_a_link_or_missing_says_nothing(tmp_path: Path) -> None:
    assert entries(tmp_path / "nowhere") == []
    record(tmp_path, an_entry(1))
    other = tmp_path / "other"
    other.mkdir()
    (other / PROMOTION_HISTORY).symlink_to(tmp_path / PROMOTION_HISTORY)
    assert entries(other) == []
    assert was_rolled_back(tmp_path, "1") is None, "it was promoted, nobody went back to it"


def test_the_command_goes_back(registry: Registry, versions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_MODELS_DIR", str(registry.folder))
    result = CliRunner().invoke(app, ["train", "--rollback", KEY.service, "--output", "json"])
    assert result.exit_code == 0
    (told,) = json.loads(result.stdout)["rolled_back"]
    assert (told["service"], told["version"], told["previous"]) == (KEY.service, versions[1], versions[0])
    assert isinstance(CliRunner().invoke(app, ["train", "--rollback", "other"]).exception, NoEarlierModelError)
    assert "remove --service" in str(CliRunner().invoke(app, ["train", "--rollback", "a", "--every", "1h"]).exception)
