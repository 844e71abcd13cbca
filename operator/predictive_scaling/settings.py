"""Everything that can be set, in one described class."""

import difflib
import os
import re
import runpy
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.quantities import Duration

PREFIX = "PREDICTIVE_SCALING_"
# Kubernetes adds these for a Service called predictive-scaling-…; they are not ours.
_SERVICE_LINK = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """Everything that can be set. Order: arguments, environment, secret files, config/settings.py, these defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: Annotated[SecretStr, Field(validation_alias="DATABASE_URL")] = SecretStr(
        "postgresql://localhost:5432/predictive_scaling"
    )
    """Where samples, forecasts and decisions are kept."""

    redis_url: Annotated[SecretStr | None, Field(validation_alias="REDIS_URL")] = None
    """A cache for the newest features and forecasts; without it everything comes from the database."""

    kafka_bootstrap_servers: Annotated[str, Field(validation_alias="KAFKA_BOOTSTRAP_SERVERS")] = "localhost:9092"
    """Where `ingest` reads samples."""

    kafka_topic: str = "metrics.raw"
    """The topic of samples."""

    kafka_group: str = "metrics-processor"
    """The consumer group of `ingest`."""

    kafka_dead_letter_topic: str = "metrics.dead-letter"
    """Where messages go that cannot be understood."""

    kafka_options: dict[str, str] = {}
    """More librdkafka properties, as JSON: security, for one."""

    sample_max_age: Duration = timedelta(days=400)
    """Samples older than this are dead letters. By default what the rollups keep."""

    sample_max_ahead: Duration = timedelta(minutes=5)
    """Samples from further in the future are dead letters."""

    max_series_per_service: Annotated[int, Field(ge=1)] = 10_000
    """New series of a service beyond this many are dead letters: label values that never repeat fill any database."""

    ingest_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Messages in one transaction at most."""

    ingest_batch_wait: Duration = timedelta(milliseconds=500)
    """How long a batch waits for more messages, in real time."""

    retention_raw: Duration = timedelta(days=30)
    """How long samples are kept as they came."""

    retention_rollups: Duration = timedelta(days=400)
    """How long the 1-minute rollups are kept."""

    models_dir: Path = Path("models")
    """Where trained models are kept, with their manifests."""

    feature_count: Annotated[int, Field(ge=5, le=500)] = 60
    """How many features a model may use; those with the least gain are left out."""

    models_in_memory: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """How many series' own models the operator keeps in memory, about 3 MB each; the shared model serves the others."""

    training_span: Duration = timedelta(days=60)
    """How much history a model learns from."""

    training_interval: Duration = timedelta(hours=24)
    """Time between two trainings of a model."""

    train_from_operator: bool = True
    """Whether the operator starts trainings itself, in child processes; off where `train --every` does it."""

    tuning_interval: Annotated[Duration, Field(ge=timedelta(minutes=5))] = timedelta(hours=6)
    """Time between two looks back on a policy's last days; the quantile of an objective moves at most as often."""

    tick: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=15)
    """Time between two passes over all policies."""

    forecast_refresh: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(minutes=1)
    """Time between two forecasts of a policy."""

    metrics_max_age: Duration = timedelta(minutes=5)
    """Demand older than this is stale: no new forecast is made from it."""

    decisions_kept: Annotated[int, Field(ge=1, le=1000)] = 20
    """ScalingDecision objects kept in the cluster for each policy; the database keeps all."""

    writes_in_flight: Annotated[int, Field(ge=1, le=1000)] = 32
    """Writes to the API server at the same time, at most."""

    default_lead_time: Duration = timedelta(minutes=3)
    """From a raise to ready replicas, until it has been measured."""

    verification_patience: Annotated[float, Field(ge=1)] = 3.0
    """A raise has failed when its replicas are not ready after this many lead times."""

    namespaces: tuple[str, ...] = ()
    """The namespaces to watch; none means all."""

    lease_name: str = "predictive-scaling"
    """The Lease that replicas of the operator lead by."""

    lease_namespace: str | None = None
    """Where that Lease is; by default the operator's own namespace."""

    lease_duration: Annotated[Duration, Field(ge=timedelta(seconds=3))] = timedelta(seconds=15)
    """How long a lost leader keeps the next one waiting, in real time. It acts for two thirds of it unrenewed."""

    external_metrics: bool = False
    """Serve demand and forecasts as external.metrics.k8s.io. Off, as a cluster has one owner of that API."""

    external_metrics_port: Port = 8443
    """Where the aggregation layer reaches them."""

    external_metrics_certificate: Path | None = None
    """PEM with the serving certificate and its chain; read again when it changes."""

    external_metrics_key: Path | None = None
    """PEM with its key."""

    host: str = "0.0.0.0"  # noqa: S104 (a pod's probes and scrapes come from outside it)
    """The address that health, metrics and the HTTP API listen on."""

    api_port: Port = 8000
    """The HTTP API."""

    operator_port: Port = 8001
    """Health and metrics of the operator."""

    ingest_port: Port = 8002
    """Health and metrics of `ingest`."""

    trainer_port: Port = 8003
    """Health and metrics of `train --every`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""

    log_format: Literal["json", "console"] = "json"
    """JSON for machines, console for people."""

    clock: str = ""
    """Time for replays and tests, as START,ORIGIN,RATE: an RFC 3339 time, a monotonic second, a factor."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, file_secret_settings, ConstantsSource(settings_cls)


class ConstantsSource(PydanticBaseSettingsSource):
    """config/settings.py: constants in capitals, named as the settings are. Read by path; nothing imports it."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        path = Path(os.environ.get("PREDICTIVE_SCALING_CONSTANTS", "config/settings.py"))
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


def read_settings(environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    """Settings from all sources; arguments come first.

    Raises SettingsError that names the setting and what it may be, also for a misspelt PREDICTIVE_SCALING_… name.
    """
    _refuse_unknown(os.environ if environ is None else environ)
    try:
        return Settings(**arguments)
    except ValidationError as error:
        lines = [f"{_where(str(e['loc'][0]) if e['loc'] else '')}: {e['msg']}" for e in error.errors()]
        raise SettingsError("; ".join(lines)) from None


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = [f"{PREFIX}{name.upper()}" for name, field in Settings.model_fields.items() if not field.validation_alias]
    known += [f"{PREFIX}CONSTANTS", f"{PREFIX}FAULT"]
    for name in environ:
        if name.startswith(PREFIX) and name not in known and not _SERVICE_LINK.search(name):
            raise SettingsError(f"{name} is no setting{_suggestion(name, known)}")


def _suggestion(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; see `predictive-scaling settings` for all of them"


def _where(name: str) -> str:
    return name if name.isupper() else f"{PREFIX}{name.upper()}"
