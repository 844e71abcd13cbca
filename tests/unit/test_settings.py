"""Sources of settings, their precedence, and messages without secrets."""

from datetime import timedelta
from pathlib import Path

import pytest

from predictive_scaling.errors import SettingsError
from predictive_scaling.settings import read_settings


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_duration_has_the_format_of_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_TICK", "1m30s")
    assert read_settings().tick == timedelta(seconds=90)


def test_a_misspelt_name_is_refused_with_the_correct_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_TIK", "30s")
    with pytest.raises(
        SettingsError, match=r"PREDICTIVE_SCALING_TIK is no setting; did you mean PREDICTIVE_SCALING_TICK\?"
    ):
        read_settings()


def test_a_value_out_of_range_names_the_setting_and_not_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_API_PORT", "123456")
    with pytest.raises(SettingsError, match=r"PREDICTIVE_SCALING_API_PORT: .*less than or equal to 65535"):
        read_settings()


def test_environment_variables_take_precedence_over_constants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.py").write_text("FEATURE_COUNT = 33\nDATABASE_URL = 'postgresql://db/x'\n")
    assert read_settings().feature_count == 33
    assert read_settings().database_url.get_secret_value() == "postgresql://db/x"
    monkeypatch.setenv("PREDICTIVE_SCALING_FEATURE_COUNT", "44")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db/y")
    assert read_settings().feature_count == 44
    assert read_settings().database_url.get_secret_value() == "postgresql://db/y"


def test_a_misspelt_constant_is_refused_with_the_correct_name(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.py").write_text("FEATURE_CONT = 33\n")
    with pytest.raises(SettingsError, match=r"sets FEATURE_CONT, which is no setting; did you mean FEATURE_COUNT\?"):
        read_settings()


def test_secrets_are_masked_in_the_representation_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db/x")
    assert "hunter2" not in repr(read_settings())


def test_arguments_take_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_TICK", "1m")
    assert read_settings(tick=timedelta(seconds=5)).tick == timedelta(seconds=5)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n"])
def test_a_trailing_line_break_is_removed_from_a_value(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DATABASE_URL": "postgresql://app:pw@db/x",
        "REDIS_URL": "redis://:pw@cache",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
        "PREDICTIVE_SCALING_TICK": "30s",
        "PREDICTIVE_SCALING_LOG_LEVEL": "debug",
        "PREDICTIVE_SCALING_API_PORT": "8080",
        "PREDICTIVE_SCALING_KAFKA_OPTIONS": '{"security.protocol": "SSL"}',
        "PREDICTIVE_SCALING_EXTERNAL_METRICS": "true",
    }.items():
        monkeypatch.setenv(name, value + ending)
    settings = read_settings()
    assert settings.database_url.get_secret_value() == "postgresql://app:pw@db/x"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:pw@cache"
    assert settings.kafka_bootstrap_servers == "kafka:9092"
    assert (settings.tick, settings.log_level, settings.api_port) == (timedelta(seconds=30), "debug", 8080)
    assert settings.kafka_options == {"security.protocol": "SSL"}
    assert settings.external_metrics


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as Kubernetes mounts a Secret: files are links into a folder whose name begins with dots."""
    folder = tmp_path / "secrets"
    (folder / "..2026_11_27").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026_11_27")
    monkeypatch.setenv("PREDICTIVE_SCALING_SECRETS_DIR", str(folder))
    return folder


def write_secret(folder: Path, name: str, content: bytes) -> None:
    (folder / "..2026_11_27" / name).write_bytes(content)
    (folder / name).symlink_to(f"..data/{name}")


def test_secret_files_rank_below_the_environment_and_above_constants(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_secret(secrets, "DATABASE_URL", b"postgresql://app:pw@db/file\n")
    write_secret(secrets, "REDIS_URL", b"redis://:pw@cache/1\r\n")
    write_secret(secrets, "PREDICTIVE_SCALING_KAFKA_OPTIONS", b'{"sasl.password": "pw"}\n')
    write_secret(secrets, "PREDICTIVE_SCALING_FEATURE_COUNT", b"44")
    write_secret(secrets, "username", b"app")
    write_secret(secrets, "keystore.jks", bytes(range(256)))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.py").write_text("FEATURE_COUNT = 33\nDATABASE_URL = 'postgresql://db/constant'\n")
    monkeypatch.setenv("REDIS_URL", "redis://:pw@cache/2")
    settings = read_settings()
    assert settings.database_url.get_secret_value() == "postgresql://app:pw@db/file"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:pw@cache/2"
    assert settings.kafka_options == {"sasl.password": "pw"}
    assert settings.feature_count == 44


def test_a_misspelt_secret_file_is_refused_with_the_correct_name(secrets: Path) -> None:
    write_secret(secrets, "PREDICTIVE_SCALING_KAFKA_OPTION", b"{}")
    with pytest.raises(SettingsError, match=r"did you mean PREDICTIVE_SCALING_KAFKA_OPTIONS\?"):
        read_settings()


def test_a_missing_folder_of_secret_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREDICTIVE_SCALING_SECRETS_DIR", "/nonexistent")
    with pytest.raises(SettingsError, match=r"PREDICTIVE_SCALING_SECRETS_DIR: cannot read /nonexistent: No such file"):
        read_settings()


def test_a_binary_or_too_large_secret_file_is_named(secrets: Path) -> None:
    write_secret(secrets, "DATABASE_URL", b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"DATABASE_URL is not UTF-8 text"):
        read_settings()
    (secrets / "..2026_11_27" / "DATABASE_URL").write_bytes(b"x" * (1 << 20) + b"x")
    with pytest.raises(SettingsError, match=r"DATABASE_URL is larger than"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREDICTIVE_SCALING_KAFKA_OPTIONS", "{'sasl.password': 'hunter2'}"),
        ("PREDICTIVE_SCALING_KAFKA_OPTIONS", '{"sasl.password": ["hunter2"]}'),
        ("PREDICTIVE_SCALING_KAFKA_OPTIONS", "hunter2"),
        ("PREDICTIVE_SCALING_NAMESPACES", "hunter2"),
        ("PREDICTIVE_SCALING_TICK", "hunter2"),
        ("REDIS_URL", "http://:hunter2@cache"),
        ("DATABASE_URL", "mysql://app:hunter2@db/x"),
        ("DATABASE_URL", "postgresql://app:hunter2\udcff@db/x"),
    ],
)
def test_an_invalid_value_is_reported_with_the_setting_and_without_the_secret(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert name in str(raised.value)
    if name != "PREDICTIVE_SCALING_TICK":
        assert "hunter2" not in str(raised.value)


def test_roles_of_aws_are_lists_of_arns_by_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    role = "arn:aws:iam::123456789012:role/scaler"
    monkeypatch.setenv("PREDICTIVE_SCALING_AWS_ROLES", f'{{"shop": ["{role}"]}}')
    assert read_settings().aws_roles == {"shop": (role,)}
    monkeypatch.setenv("PREDICTIVE_SCALING_AWS_ROLES", '{"shop": ["scaler"]}')
    with pytest.raises(SettingsError, match="PREDICTIVE_SCALING_AWS_ROLES: must be the ARN of an IAM role"):
        read_settings()
