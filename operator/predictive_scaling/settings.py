"""Everything that can be set, in one described class."""

import os
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from predictive_scaling.connection_urls import check_url
from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.quantities import Duration
from predictive_scaling.settings_sources import (
    PREFIX,
    ConstantsSource,
    EnvironmentSource,
    SecretFilesSource,
    refuse_unknown,
    setting_name,
)

Port = Annotated[int, Field(ge=0, le=65535)]

DATABASE_SCHEMES = ("postgresql", "postgres")
_REDIS_SCHEMES = ("redis", "rediss", "unix")


def _checked(schemes: Collection[str]) -> AfterValidator:
    return AfterValidator(lambda url: SecretStr(check_url(url.get_secret_value(), schemes)))


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

    database_url: Annotated[SecretStr, _checked(DATABASE_SCHEMES), Field(validation_alias="DATABASE_URL")] = SecretStr(
        "postgresql://localhost:5432/predictive_scaling"
    )
    """Where samples, forecasts and decisions are kept."""

    redis_url: Annotated[Annotated[SecretStr, _checked(_REDIS_SCHEMES)] | None, Field(validation_alias="REDIS_URL")] = (
        None
    )
    """A cache for the newest features and forecasts; without it everything comes from the database."""

    kafka_bootstrap_servers: Annotated[str, Field(validation_alias="KAFKA_BOOTSTRAP_SERVERS")] = "localhost:9092"
    """Where `ingest` reads samples."""

    kafka_topic: str = "metrics.raw"
    """The topic of samples."""

    kafka_group: str = "metrics-processor"
    """The consumer group of `ingest`."""

    kafka_dead_letter_topic: str = "metrics.dead-letter"
    """Where messages go that cannot be understood."""

    kafka_options: Annotated[dict[str, str], Field(repr=False)] = {}
    """More librdkafka properties, as JSON: security, for one."""

    sample_max_age: Duration = timedelta(days=400)
    """Samples older than this are dead letters. By default what the rollups keep."""

    sample_max_ahead: Duration = timedelta(minutes=5)
    """Samples from further in the future are dead letters."""

    max_series_per_service: Annotated[int, Field(ge=1)] = 10_000
    """New series of a service are dead letters while this many are active: label values may never repeat."""

    max_metrics_per_service: Annotated[int, Field(ge=1)] = 1_000
    """New metrics of a service are dead letters while this many are active."""

    max_services: Annotated[int, Field(ge=1)] = 10_000
    """New services are dead letters while this many are active."""

    series_active_for: Annotated[Duration, Field(ge=timedelta(hours=1), le=timedelta(days=30))] = timedelta(days=1)
    """How long a series, metric or service counts as active after its last sample, rounded up to whole days."""

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
    """Lease duration, in real time: a leader that cannot renew it ends after two thirds; then another may lead."""

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
        return (
            init_settings,
            EnvironmentSource(settings_cls),
            SecretFilesSource(settings_cls),
            ConstantsSource(settings_cls),
        )


def read_settings(environ: Mapping[str, str] | None = None, **arguments: Any) -> Settings:
    """Settings from all sources; arguments come first.

    Raises SettingsError that names the setting and what it may be, also for a misspelt PREDICTIVE_SCALING_… name. No
    value is in its message: it may be a password.
    """
    refuse_unknown(Settings, os.environ if environ is None else environ)
    try:
        return Settings(**arguments)
    except ValidationError as error:
        raise SettingsError("; ".join(_explained(each) for each in error.errors())) from None


def _explained(error: Mapping[str, Any]) -> str:
    name = setting_name(str(error["loc"][0]) if error["loc"] else "")
    return f"{name}: {str(error['msg']).removeprefix('Value error, ')}"
