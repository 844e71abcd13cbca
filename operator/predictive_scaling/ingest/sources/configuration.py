"""The file of pull sources: servers that `ingest` reads demand from, and queries. The installation writes it."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.measurement import MAX_NAME
from predictive_scaling.resources.quantities import Duration

MAX_BYTES = 1 << 20
MINUTE = timedelta(minutes=1)

SourceName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RESERVED_HEADERS = {"authorization", "proxy-authorization", "cookie", "content-length", "content-type", "host"}


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as http://prometheus.monitoring:9090")
    if "@" in parts.netloc:
        raise ValueError("must not contain a user name or a password; write basicAuth with a passwordFile")
    if parts.query or parts.fragment:
        raise ValueError("must not contain ? or #; write the address without /api/v1")
    return url.rstrip("/").removesuffix("/api/v1")


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise ValueError(f"{name[:80]!r} is no valid header, or its value is not printable ASCII")
        if name.lower() in _RESERVED_HEADERS:
            raise ValueError(f"must not set {name}; credentials are read from bearerTokenFile or basicAuth")
    return headers


def _check_step(step: timedelta) -> timedelta:
    seconds = step.total_seconds()
    if seconds < 1 or 60 % seconds:
        raise ValueError("must divide a minute, such as 1m, 30s or 15s: demand has one value per minute")
    return step


class Model(BaseModel):
    """A part of the file; a key that is no field is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
    )


class BasicAuth(Model):
    """User name and password; the password is read from the file at each poll."""

    username: Annotated[str, Field(min_length=1)]
    password_file: Path


class Tls(Model):
    """Certificates, read at each poll. server_name: the name in the server's certificate, if the URL has another."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile must be set together")
        return self


class Query(Model):
    """A query and the series that its rows become. service: of all rows; None where each row names its own."""

    metric: Name
    service: Name | None = None


class PrometheusQuery(Query):
    """query: PromQL. service_label: the label with the service; the other labels become labels of the samples."""

    query: Annotated[str, Field(min_length=1)]
    service_label: Name | None = None

    @model_validator(mode="after")
    def _check_service(self) -> Self:
        if (self.service is None) == (self.service_label is None):
            raise ValueError("needs either service or serviceLabel, the label that holds the service")
        return self


class PostgreSQLQuery(Query):
    """query: one SELECT with %(from)s and %(to)s; columns: time, value, and optionally service and labels."""

    query: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        for parameter in ("%(from)s", "%(to)s"):
            if parameter not in self.query:
                raise ValueError(f"query must contain {parameter}; it returns the rows with from <= time < to")
        if re.search(r"%(?!\((from|to)\)s)", self.query.replace("%%", "")):
            raise ValueError("query has a % that is neither %(from)s nor %(to)s; write %% for a percent sign")
        return self


class BaseSource(Model):
    """What all kinds have in common.

    step: times are multiples of it, and so is the end of the newest part. interval: between two polls. delay: samples
    newer than this are read later. reread: span before the newest time that is read once more, for late samples.
    backfill: history that is read at first use. timeout: of a request or statement.
    """

    name: SourceName
    step: Annotated[Duration, AfterValidator(_check_step)] = MINUTE
    interval: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(hours=1))] = timedelta(seconds=30)
    delay: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(hours=1))] = timedelta(seconds=15)
    reread: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(hours=6))] = timedelta(minutes=5)
    backfill: Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=3650))] = timedelta(days=60)
    timeout: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(minutes=10))] = timedelta(seconds=30)


class PrometheusSource(BaseSource):
    """A server with Prometheus' HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics."""

    kind: Literal["prometheus"]
    url: Annotated[str, AfterValidator(_check_url)]
    headers: Annotated[dict[str, str], AfterValidator(_check_headers)] = {}
    bearer_token_file: Path | None = None
    basic_auth: BasicAuth | None = None
    tls: Tls | None = None
    queries: Annotated[list[PrometheusQuery], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
        if self.bearer_token_file is not None and self.basic_auth is not None:
            raise ValueError("bearerTokenFile and basicAuth must not be set together")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls needs an https:// url")
        return self

    @property
    def where(self) -> str:
        """The server, for messages and for the identity of what was read."""
        return self.url


class PostgreSQLSource(BaseSource):
    """A PostgreSQL database. Its URL holds a password: it is read from a file or from an environment variable."""

    kind: Literal["postgresql"]
    url_file: Path | None = None
    url_variable: EnvironmentName | None = None
    max_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 100_000
    queries: Annotated[list[PostgreSQLQuery], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_url_source(self) -> Self:
        if (self.url_file is None) == (self.url_variable is None):
            raise ValueError("needs either urlFile or urlVariable, the environment variable that holds the URL")
        return self

    @property
    def where(self) -> str:
        """The place of the URL; the URL itself is a secret."""
        return str(self.url_file or self.url_variable)


AnySource = PrometheusSource | PostgreSQLSource
Source = Annotated[AnySource, Field(discriminator="kind")]


class SourcesFile(Model):
    """The content of the file that PREDICTIVE_SCALING_SOURCES names."""

    sources: list[Source]

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [source.name for source in self.sources]
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources must have different names; several are called {', '.join(duplicates)}")
        for source in self.sources:
            keys = [query_key(source, query) for query in source.queries]
            if len(set(keys)) < len(keys):
                raise ValueError(f"source {source.name} has the same query twice")
        return self


def read_sources(path: Path) -> tuple[AnySource, ...]:
    """Return the sources of a YAML or JSON file. Raises SettingsError, which names the source and the field."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"PREDICTIVE_SCALING_SOURCES: {path} is larger than {MAX_BYTES} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise SettingsError(f"PREDICTIVE_SCALING_SOURCES: cannot read {path}: {reason}") from None
    try:
        # JSON is YAML. No alias is needed, and a few of them can expand to gigabytes.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise SettingsError(f"PREDICTIVE_SCALING_SOURCES: {path} contains a YAML alias (*name); write the value")
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(str(error).split())[:200]
        raise SettingsError(f"PREDICTIVE_SCALING_SOURCES: {path} is neither YAML nor JSON: {problem}") from None
    try:
        return tuple(_FILE.validate_python(document).sources)
    except ValidationError as error:
        problems = "; ".join(_explanation(problem, document) for problem in error.errors()[:5])
        raise SettingsError(f"PREDICTIVE_SCALING_SOURCES: {path}: {problems}") from None


def query_key(source: AnySource, query: Query) -> str:
    """Return the identity of what a query reads: a changed query, server or tenant has a history of its own."""
    identity = {
        "kind": source.kind,
        "where": source.where,
        "headers": source.headers if isinstance(source, PrometheusSource) else {},
        "step": source.step.total_seconds(),
        "query": query.model_dump(mode="json"),
    }
    return hashlib.blake2b(json.dumps(identity, sort_keys=True).encode(), digest_size=12).hexdigest()


def connection_url(source: PostgreSQLSource) -> str:
    """Return the URL of a PostgreSQL source. Raises SettingsError if it is missing; never with the URL."""
    if source.url_variable is not None:
        if url := os.environ.get(source.url_variable, "").strip():
            return url
        raise SettingsError(f"source {source.name}: the environment variable {source.url_variable} is not set")
    return read_secret(source.name, source.url_file or Path())


def read_secret(source: str, file: Path) -> str:
    """Return the content of a file with a secret, without surrounding space. Raises SettingsError without it."""
    try:
        secret = file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise SettingsError(f"source {source}: cannot read {file}: {reason}") from None
    if not secret or not secret.isprintable():
        raise SettingsError(f"source {source}: {file} is empty or has several lines; write the secret alone")
    return secret


_FILE = TypeAdapter(SourcesFile)


def _explanation(error: Mapping[str, Any], document: Any) -> str:
    """Return a problem with the name of its source and the path of its field."""
    location = [part for part in error["loc"] if part not in ("prometheus", "postgresql")]
    place = ""
    if len(location) > 1 and location[0] == "sources":
        name = _name_of(document, location[1])
        place = f"source {name or location[1]}: "
        location = location[2:]
    field = ".".join(str(part) for part in location)
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{place}{field}: {message}" if field else f"{place}{message}"


def _name_of(document: Any, index: Any) -> str | None:
    try:
        name = document["sources"][index]["name"]
    except (KeyError, IndexError, TypeError):
        return None
    return name[:63] if isinstance(name, str) else None
