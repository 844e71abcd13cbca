"""Where settings come from beside arguments and defaults: the environment, secret files, a file of constants."""

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
"""Names another file than config/settings.py."""
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"
"""Names the folder of secret files."""
NOT_SETTINGS = (CONSTANTS, SECRETS_DIR, f"{PREFIX}FAULT")

_MAX_SECRET_BYTES = 1 << 20


class EnvironmentSource(EnvSettingsSource):
    """Environment variables, without the line breaks that files and shells leave at their end.

    What Kubernetes injects for a Service that is called as a setting of ours is left out: the next source decides.
    """

    def variables(self) -> Mapping[str, str]:
        """Name and text of everything that this source offers, settings or not."""
        return os.environ

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Raises SettingsError without the text, as it may hold a password of Kafka's."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            raise SettingsError(
                f'{setting_name(field_name)}: is not JSON; write lists and maps as JSON, such as ["shop"] or '
                '{"security.protocol": "SSL"}'
            ) from None

    def _load_env_vars(self) -> Mapping[str, str | None]:
        offered = {name: value.rstrip("\r\n") for name, value in self.variables().items()}
        return {name.lower(): value for name, value in offered.items() if not is_service_link(name.upper(), value)}


class SecretFilesSource(EnvironmentSource):
    """Files of the folder PREDICTIVE_SCALING_SECRETS_DIR, as a mounted Secret has them: named as the variables are."""

    def variables(self) -> Mapping[str, str]:
        """Raises SettingsError for a folder that is not there, and for a file that cannot be read."""
        return secret_files(os.environ)


class ConstantsSource(PydanticBaseSettingsSource):
    """config/settings.py: constants in capitals, named as the settings are. Read by path; nothing imports it."""

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
    """Name and text of each secret file; empty where no folder is named."""
    if not (folder := environ.get(SECRETS_DIR, "").strip()):
        return {}
    try:
        # A mounted Secret has folders and links of its own beside the keys; their names begin with dots.
        files = [file for file in sorted(Path(folder).iterdir()) if not file.name.startswith(".") and file.is_file()]
        return {file.name: _secret(file) for file in files}
    except OSError as error:
        raise SettingsError(f"{SECRETS_DIR}: cannot read {error.filename or folder}: {error.strerror}") from None


def refuse_unknown(settings: type[BaseSettings], environ: Mapping[str, str]) -> None:
    """Raises SettingsError for a variable or secret file with our prefix that is no setting."""
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
    """The variable that sets a field; a field with a name of its own has it already."""
    return name if name.isupper() else f"{PREFIX}{name.upper()}"


def _secret(file: Path) -> str:
    if file.stat().st_size > _MAX_SECRET_BYTES:
        raise SettingsError(f"{SECRETS_DIR}: {file} is larger than {_MAX_SECRET_BYTES} bytes")
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        # Other keys of a mounted Secret may hold binary data. A setting has to be text.
        if file.name.upper().startswith(PREFIX) or file.name.upper().endswith("_URL"):
            raise SettingsError(f"{SECRETS_DIR}: {file} is not UTF-8 text") from None
        return ""


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name[:200], list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; see `predictive-scaling settings` for all of them"
