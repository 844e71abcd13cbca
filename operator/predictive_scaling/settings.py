"""All settings of the product, in one self-describing class."""

import os
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from predictive_scaling.connection_urls import check_url
from predictive_scaling.errors import SettingsError
from predictive_scaling.resources.namespace_patterns import PatternsByNamespace
from predictive_scaling.resources.quantities import Duration
from predictive_scaling.resources.target import RoleArn
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


def _url_validator(schemes: Collection[str]) -> AfterValidator:
    return AfterValidator(lambda url: SecretStr(check_url(url.get_secret_value(), schemes)))


class Settings(BaseSettings):
    """All settings. Precedence: arguments, environment, secret files, config/settings.py, these defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: Annotated[SecretStr, _url_validator(DATABASE_SCHEMES), Field(validation_alias="DATABASE_URL")] = (
        SecretStr("postgresql://localhost:5432/predictive_scaling")
    )
    """URL of the PostgreSQL database of samples, forecasts and decisions."""

    redis_url: Annotated[
        Annotated[SecretStr, _url_validator(_REDIS_SCHEMES)] | None, Field(validation_alias="REDIS_URL")
    ] = None
    """URL of a Redis cache of features and API responses. Without it every read goes to the database."""

    kafka_bootstrap_servers: Annotated[str, Field(validation_alias="KAFKA_BOOTSTRAP_SERVERS")] = ""
    """Kafka brokers that `ingest` reads samples from, as HOST:PORT, separated by commas. Empty: no Kafka."""

    sources: Path | None = None
    """File of the pull sources of `ingest`, such as Prometheus servers: see docs/sources.md. Unset: none."""

    kafka_topic: str = "metrics.raw"
    """Kafka topic of the samples."""

    kafka_group: str = "metrics-processor"
    """Kafka consumer group of `ingest`."""

    kafka_dead_letter_topic: str = "metrics.dead-letter"
    """Kafka topic that receives the messages that cannot be parsed."""

    kafka_create_topics: bool = False
    """Whether `ingest` creates its topics where they are missing, with the brokers' default replication."""

    kafka_partitions: Annotated[int, Field(ge=1, le=1000)] = 12
    """Partitions of the topic of the samples if `ingest` creates it: the maximum number of its replicas that work."""

    kafka_options: Annotated[dict[str, str], Field(repr=False)] = {}
    """Additional librdkafka properties as a JSON object, such as security settings."""

    kafka_format: Literal["native", "otlp_json", "otlp_proto", "prometheus", "telegraf"] = "native"
    """Format of messages without the header `format`, see docs/stream-formats.md."""

    stream_service_labels: Annotated[tuple[str, ...], Field(min_length=1)] = ("service.name", "service_name", "service")
    """Labels that name the service in the formats of other programs, as a JSON list; the first with a value counts."""

    stream_counter_metrics: tuple[str, ...] = ("*_total", "*_count", "*_sum")
    """Patterns of names of counters, as a JSON list, for formats that do not state the kind of a metric."""

    remote_write: bool = False
    """Whether `ingest` receives Prometheus remote write, see docs/stream-formats.md."""

    remote_write_port: Port = 8004
    """Port of the remote-write receiver."""

    remote_write_token_file: Path | None = None
    """File with the bearer token of the senders of remote write; read again for each request. Required to receive."""

    remote_write_certificate: Path | None = None
    """PEM file with the serving certificate of the remote-write receiver and its chain; reloaded when it changes.
    Unset: no TLS."""

    remote_write_key: Path | None = None
    """PEM file with the private key of that certificate."""

    sample_max_age: Duration = timedelta(days=400)
    """Maximum age of a sample; older samples become dead letters. The default equals the retention of the rollups."""

    sample_max_ahead: Duration = timedelta(minutes=5)
    """Maximum time by which a sample may lie in the future; later samples become dead letters."""

    max_series_per_service: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of active series per service; samples of further series become dead letters."""

    max_metrics_per_service: Annotated[int, Field(ge=1)] = 1_000
    """Maximum number of active metrics per service; samples of further metrics become dead letters."""

    max_services: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of active services; samples of further services become dead letters."""

    series_active_for: Annotated[Duration, Field(ge=timedelta(hours=1), le=timedelta(days=30))] = timedelta(days=1)
    """Time that a series, metric or service stays active after its last sample, rounded up to full days."""

    ingest_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Maximum number of messages per transaction."""

    ingest_batch_wait: Duration = timedelta(milliseconds=500)
    """Maximum time that a batch waits for more messages, in real time."""

    retention_raw: Duration = timedelta(days=30)
    """Retention of raw samples."""

    retention_rollups: Duration = timedelta(days=400)
    """Retention of the 1-minute rollups."""

    models_dir: Path = Path("models")
    """Directory of the trained models and their manifests."""

    feature_count: Annotated[int, Field(ge=5, le=500)] = 60
    """Maximum number of features per model; the features with the lowest gain are dropped."""

    models_in_memory: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """Maximum number of per-series models in memory, about 3 MB each; the shared model serves the other series."""

    training_span: Duration = timedelta(days=60)
    """Length of the history that a model is trained on."""

    training_interval: Duration = timedelta(hours=24)
    """Interval between two trainings of a model."""

    train_from_operator: bool = True
    """Whether the operator trains models itself, in child processes. Disable it where `train --every` runs."""

    tuning_interval: Annotated[Duration, Field(ge=timedelta(minutes=5))] = timedelta(hours=6)
    """Interval between two tuning runs of a policy; the quantile of an objective changes at most once per run."""

    tick: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(seconds=15)
    """Interval between two reconciliations of all policies."""

    forecast_refresh: Annotated[Duration, Field(gt=timedelta(0))] = timedelta(minutes=1)
    """Interval between two forecasts of a policy."""

    metrics_max_age: Duration = timedelta(minutes=5)
    """Maximum age of demand; no new forecast is computed from older demand."""

    decisions_kept: Annotated[int, Field(ge=1, le=1000)] = 20
    """Number of ScalingDecision objects kept in the cluster per policy; the database keeps all of them."""

    writes_in_flight: Annotated[int, Field(ge=1, le=1000)] = 32
    """Maximum number of concurrent writes to the Kubernetes API server."""

    default_lead_time: Duration = timedelta(minutes=3)
    """Assumed time from a scale-up to ready replicas, until the lead time has been measured."""

    verification_patience: Annotated[float, Field(ge=1)] = 3.0
    """Number of lead times after which a scale-up without ready replicas counts as failed."""

    backtest_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    """Maximum number of ScalingBacktests that run concurrently, each in a child process of one thread."""

    backtest_time_limit: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(hours=24))] = timedelta(
        minutes=30
    )
    """Maximum time that a ScalingBacktest runs, in real time; a longer one fails."""

    backtest_max_span: Annotated[Duration, Field(ge=timedelta(days=1))] = timedelta(days=60)
    """Maximum span of demand that a ScalingBacktest replays; a longer one fails."""

    backtest_memory_mib: Annotated[int, Field(ge=256)] = 2048
    """Maximum memory of a running ScalingBacktest in MiB; one that needs more fails. The pod needs it in addition."""

    placeholder_image: Annotated[str, Field(min_length=1)] = "registry.k8s.io/pause:3.10.1"
    """Image of the placeholder pods that reserve node headroom; it only has to sleep, as user 65535."""

    placeholder_priority_class: Annotated[str, Field(min_length=1)] = "predictive-scaling-placeholder"
    """PriorityClass of the placeholder pods, see config/placeholder-priority-class.yaml; below that of replicas."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to watch, as a JSON list; an empty list means all namespaces."""

    aws_roles: dict[str, tuple[RoleArn, ...]] = {}
    """IAM roles that policies may assume, as a JSON object of namespaces (`*`: all) and lists of role ARNs."""

    aws_groups: PatternsByNamespace = {}
    """Auto Scaling groups by namespace (`*`: all), as a JSON object of lists of NAME or REGION:NAME; unset: free."""

    namespace_services: PatternsByNamespace = {}
    """Services whose demand each namespace (`*`: all) may read, as a JSON object of lists; unset: free."""

    max_policies_per_namespace: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of ScalingPolicies of a namespace; only the oldest act. Unset: no limit."""

    max_events_per_namespace: Annotated[int, Field(ge=1)] | None = None
    """Maximum number of BusinessEvents of a namespace; only the oldest act. Unset: no limit."""

    lease_name: str = "predictive-scaling"
    """Name of the Lease for the leader election among the replicas of the operator."""

    lease_namespace: str | None = None
    """Namespace of the Lease; defaults to the operator's own namespace."""

    lease_duration: Annotated[Duration, Field(ge=timedelta(seconds=3))] = timedelta(seconds=15)
    """Lease duration in real time. A leader that cannot renew the lease exits after two thirds of it."""

    external_metrics: bool = False
    """Whether to serve demand and forecasts as external.metrics.k8s.io. A cluster has one provider of that API."""

    external_metrics_port: Port = 8443
    """Port of the external metrics API."""

    external_metrics_certificate: Path | None = None
    """PEM file with the serving certificate of the external metrics API and its chain; reloaded when it changes."""

    external_metrics_key: Path | None = None
    """PEM file with the private key of that certificate."""

    host: str = "0.0.0.0"  # noqa: S104 (a pod's probes and scrapes come from outside it)
    """Listen address of health, metrics and the HTTP API."""

    api_port: Port = 8000
    """Port of the HTTP API."""

    api_authentication: Literal["off", "kubernetes", "tokens"] = "off"
    """How callers of the HTTP API are authenticated: not at all, by Kubernetes, or by the tokens of a file."""

    api_audience: Annotated[str, Field(min_length=1, max_length=253)] = "predictive-scaling"
    """Audience that a Kubernetes token must have: `kubectl create token NAME --audience=predictive-scaling`."""

    api_tokens_file: Path | None = None
    """File with a line `TOKEN,USER,ACCESS,NAMESPACES` per token of the HTTP API; read again when it changes."""

    api_public_telemetry: bool = True
    """Whether the API's /health and /metrics need no token. Probes at /health/live and /health/ready never need one."""

    api_requests_per_second: Annotated[float, Field(ge=0.1, le=1_000_000)] = 1000.0
    """Requests to the HTTP API per second and client in the long run; an idle client may send those of 10 s at once."""

    api_certificate: Path | None = None
    """PEM file with the serving certificate of the HTTP API and its chain; reloaded when it changes. Unset: no TLS."""

    api_key: Path | None = None
    """PEM file with the private key of that certificate."""

    operator_port: Port = 8001
    """Port of the operator's health and metrics."""

    ingest_port: Port = 8002
    """Port of the health and metrics of `ingest`."""

    trainer_port: Port = 8003
    """Port of the health and metrics of `train --every`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""

    log_format: Literal["json", "console"] = "json"
    """Log format: `json` for log collectors, `console` for terminals."""

    log_dir: Path | None = None
    """Directory of additional log files PROCESS.log, such as /var/log/predictive-scaling. Unset: no files."""

    traces: bool = False
    """Whether operator and API send OpenTelemetry traces; OTEL_EXPORTER_OTLP_ENDPOINT names the collector (HTTP)."""

    clock: str = ""
    """Replay clock for tests, as START,ORIGIN,RATE: an RFC 3339 time, a monotonic second and a speed factor."""

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
    """Return the settings of all sources; arguments have the highest precedence.

    Raises SettingsError, which names the setting and the allowed values, also for a misspelt PREDICTIVE_SCALING_…
    name. Its message holds no value, because that may be a password.
    """
    refuse_unknown(Settings, os.environ if environ is None else environ)
    try:
        return Settings(**arguments)
    except ValidationError as error:
        raise SettingsError("; ".join(_explanation(problem) for problem in error.errors())) from None


def _explanation(error: Mapping[str, Any]) -> str:
    name = setting_name(str(error["loc"][0]) if error["loc"] else "")
    return f"{name}: {str(error['msg']).removeprefix('Value error, ')}"
