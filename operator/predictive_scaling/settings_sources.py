"""Sources of settings in addition to arguments and defaults: environment, secret files, file of constants."""

import difflib
import os
import runpy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from predictive_scaling.errors import SettingsError
from predictive_scaling.service_links import is_service_link

PREFIX = "PREDICTIVE_SCALING_"
CONSTANTS = f"{PREFIX}CONSTANTS"
"""Variable with the path of the constants file; the default is config/settings.py."""
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"
"""Variable with the directory of the secret files."""
NOT_SETTINGS = (CONSTANTS, SECRETS_DIR, f"{PREFIX}FAULT")

_MAX_SECRET_BYTES = 1 << 20


class EnvironmentSource(EnvSettingsSource):
    """Environment variables, without trailing line breaks.

    Variables that Kubernetes injects for a Service with the name of a setting are skipped: the next source decides.
    """

    def variables(self) -> Mapping[str, str]:
        """Return name and text of all variables of this source, including those that are no settings."""
        return os.environ

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Raises SettingsError without the text, because it may contain a Kafka password."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            raise SettingsError(
                f'{setting_name(field_name)}: is not JSON; write lists and maps as JSON, such as ["shop"] or '
                '{"security.protocol": "SSL"}'
            ) from None

    def _load_env_vars(self) -> Mapping[str, str | None]:
        variables = {name: value.rstrip("\r\n") for name, value in self.variables().items()}
        return {name.lower(): value for name, value in variables.items() if not is_service_link(name.upper(), value)}


class SecretFilesSource(EnvironmentSource):
    """Files in PREDICTIVE_SCALING_SECRETS_DIR, such as a mounted Secret; each is named like its variable."""

    def variables(self) -> Mapping[str, str]:
        """Raises SettingsError for a missing directory and for an unreadable file."""
        return secret_files(os.environ)


class ConstantsSource(PydanticBaseSettingsSource):
    """config/settings.py: upper-case constants named like the settings. Executed by path, never imported."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = Path(os.environ.get(CONSTANTS, "config/settings.py"))
        if not path.is_file():
            return {}
        constants = {name: value for name, value in runpy.run_path(str(path)).items() if name.isupper()}
        known = {field.upper(): field for field in self.settings_cls.model_fields}
        for name in constants:
            if name not in known:
                raise SettingsError(f"{path} sets {name}, which is no setting{_suggestion(name, known)}")
        fields = self.settings_cls.model_fields
        aliases = {known[name]: fields[known[name]].validation_alias or known[name] for name in constants}
        return {str(aliases[known[name]]): value for name, value in constants.items()}


def secret_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return name and text of each secret file; empty when no directory is configured."""
    if not (folder := environ.get(SECRETS_DIR, "").strip()):
        return {}
    try:
        # A mounted Secret also contains directories and links whose names start with a dot.
        files = [file for file in sorted(Path(folder).iterdir()) if not file.name.startswith(".") and file.is_file()]
        return {file.name: _secret(file) for file in files}
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR}: cannot read {error.filename or folder}: {error.strerror}") from None


def refuse_unknown(settings: type[BaseSettings], environ: Mapping[str, str]) -> None:
    """Raises SettingsError for a variable or secret file with the product's prefix that is no setting."""
    known = [f"{PREFIX}{name.upper()}" for name, field in settings.model_fields.items() if not field.validation_alias]
    for name, value in [*environ.items(), *secret_files(environ).items()]:
        variable = name.upper()
        if (
            variable.startswith(PREFIX)
            and variable not in (*known, *NOT_SETTINGS)
            and not is_service_link(variable, value.rstrip("\r\n"))
        ):
            raise SettingsError(f"{name} is no setting{_suggestion(variable, (*known, *NOT_SETTINGS))}")


def setting_name(name: str) -> str:
    """Return the environment variable of a field; a field with an alias is named by it already."""
    return name if name.isupper() else f"{PREFIX}{name.upper()}"


def _secret(file: Path) -> str:
    if file.stat().st_size > _MAX_SECRET_BYTES:
        raise SettingsError(f"{SECRETS_DIR}: {file} is larger than {_MAX_SECRET_BYTES} bytes")
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        # Other keys of a mounted Secret may hold binary data. A setting must be text.
        if file.name.upper().startswith(PREFIX) or file.name.upper().endswith("_URL"):
            raise SettingsError(f"{SECRETS_DIR}: {file} is not UTF-8 text") from None
        return ""


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:200], list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; see `predictive-scaling settings` for the list of settings"
