from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.errors import SettingsError
from predictive_scaling.settings import read_settings


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_duration_is_written_as_in_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_TICK", "1m30s")
    assert read_settings().tick == timedelta(seconds=90)


def test_a_misspelt_name_is_refused_with_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_TIK", "30s")
    with pytest.raises(
        SettingsError, match=r"PREDICTIVE_SCALING_TIK is no setting; did you mean PREDICTIVE_SCALING_TICK\?"
    ):
        read_settings()


def test_the_links_that_kubernetes_adds_for_a_service_of_that_name_are_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_API_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("PREDICTIVE_SCALING_API_PORT_8000_TCP_ADDR", "10.0.0.1")
    read_settings()


def test_a_value_out_of_range_names_the_setting_and_not_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_API_PORT", "123456")
    with pytest.raises(SettingsError, match=r"PREDICTIVE_SCALING_API_PORT: .*less than or equal to 65535"):
        read_settings()


def test_constants_of_the_installation_stand_below_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.py").write_text("FEATURE_COUNT = 33\nDATABASE_URL = 'postgresql://db/x'\n")
    assert read_settings().feature_count == 33
    assert read_settings().database_url.get_secret_value() == "postgresql://db/x"
    monkeypatch.setenv("PREDICTIVE_SCALING_FEATURE_COUNT", "44")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/y")
    assert read_settings().feature_count == 44
    assert read_settings().database_url.get_secret_value() == "postgresql://db/y"


def test_a_misspelt_constant_is_refused_with_the_right_one(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.py").write_text("FEATURE_CONT = 33\n")
    with pytest.raises(SettingsError, match=r"sets FEATURE_CONT, which is no setting; did you mean FEATURE_COUNT\?"):
        read_settings()


def test_secrets_do_not_show_in_what_settings_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db/x")
    assert "hunter2" not in repr(read_settings())


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_TICK", "1m")
    assert read_settings(tick=timedelta(seconds=5)).tick == timedelta(seconds=5)
