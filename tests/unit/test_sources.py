"""Pull sources: their file, the responses of servers, and the times of requests."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from predictive_scaling.errors import SettingsError, SourceRefusedError, SourceTooLargeError, SourceUnavailableError
from predictive_scaling.ingest.sources import prometheus as prometheus_module
from predictive_scaling.ingest.sources.configuration import PrometheusSource, query_key, read_sources
from predictive_scaling.ingest.sources.prometheus import PrometheusReader
from tests.support.prometheus import Response, error_response, prometheus_running, series_response

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
SPAN = (NOON, NOON + timedelta(minutes=10))
EXAMPLES = Path(__file__).parents[2] / "examples" / "sources"
PROMETHEUS: dict[str, Any] = {
    "name": "prometheus",
    "kind": "prometheus",
    "url": "http://prometheus:9090",
    "queries": [{"metric": "rps", "serviceLabel": "app", "query": "sum by (app) (rate(x[2m]))"}],
}
POSTGRESQL: dict[str, Any] = {
    "name": "orders",
    "kind": "postgresql",
    "urlFile": "/run/url",
    "queries": [
        {"metric": "orders", "service": "shop", "query": "select 1 where %(from)s < %(to)s and 'a' like 'a%%'"}
    ],
}


def written(folder: Path, *sources: dict[str, Any]) -> Path:
    file = folder / "sources.json"
    file.write_text(json.dumps({"sources": sources}))
    return file


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_the_examples_are_valid(file: Path) -> None:
    assert read_sources(file)


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (PROMETHEUS, {"kind": "graphite"}, "source prometheus: Input tag 'graphite'"),
        (
            PROMETHEUS,
            {"url": "http://user:hunter2@p"},
            "source prometheus: url: must not contain a user name or a pass",
        ),
        (PROMETHEUS, {"url": "p:9090"}, "url: must be an address such as http://"),
        (PROMETHEUS, {"urls": []}, "source prometheus: urls: Extra inputs are not permitted"),
        (PROMETHEUS, {"step": "7s"}, "step: must divide a minute"),
        (PROMETHEUS, {"interval": "soon"}, "interval: 'soon' is not a duration"),
        (PROMETHEUS, {"queries": []}, "queries: List should have at least 1 item"),
        (
            PROMETHEUS,
            {"queries": [{"metric": "rps", "query": "up"}]},
            "queries.0: needs either service or serviceLabel",
        ),
        (PROMETHEUS, {"headers": {"Authorization": "Bearer hunter2"}}, "headers: must not set Authorization"),
        (PROMETHEUS, {"tls": {"caFile": "ca.crt"}}, "tls needs an https:// url"),
        (PROMETHEUS, {"queries": PROMETHEUS["queries"] * 2}, "source prometheus has the same query twice"),
        (POSTGRESQL, {"urlFile": None}, "source orders: needs either urlFile or urlVariable"),
        (POSTGRESQL, {"queries": [{"metric": "a", "service": "b", "query": "select %(from)s"}]}, "must contain %(to)s"),
        (
            POSTGRESQL,
            {"queries": [{"metric": "a", "service": "b", "query": "select %(from)s, %(to)s like 'a%'"}]},
            "write %% for a percent sign",
        ),
    ],
)
def test_a_wrong_source_is_refused_with_its_name_and_its_field(
    tmp_path: Path, source: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    file = written(tmp_path, {**source, **changes})
    with pytest.raises(SettingsError) as refusal:
        read_sources(file)
    assert message in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("content", ["a: &a [1]\nb: *a", "sources: [", "- 1", "", "!!python/object:os.system {}"])
def test_a_file_that_is_no_list_of_sources_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "sources.yaml").write_text(content)
    with pytest.raises(SettingsError, match="PREDICTIVE_SCALING_SOURCES"):
        read_sources(tmp_path / "sources.yaml")
    with pytest.raises(SettingsError, match="cannot read"):
        read_sources(tmp_path / "absent.yaml")


def test_another_query_tenant_or_server_has_another_identity(tmp_path: Path) -> None:
    def key(**changes: Any) -> str:
        (source,) = read_sources(written(tmp_path, {**PROMETHEUS, **changes}))
        return query_key(source, source.queries[0])

    assert key() == key(interval="1m", bearerTokenFile="/run/token", backfill="7d")
    assert len({key(), key(url="http://other"), key(headers={"X-Scope-OrgID": "a"}), key(step="30s")}) == 4


def reader(tmp_path: Path, url: str, **changes: Any) -> PrometheusReader:
    (source,) = read_sources(written(tmp_path, {**PROMETHEUS, "url": url, **changes}))
    assert isinstance(source, PrometheusSource)
    return PrometheusReader(source)


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]], **more: Any) -> Response:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return 200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


async def test_nan_is_a_gap_and_labels_become_service_and_labels(tmp_path: Path) -> None:
    noon = NOON.timestamp()
    values = [(noon, "1.5"), (noon + 60, "NaN"), (noon + 120, "+Inf")]
    body = matrix(({"__name__": "x", "app": "shop", "zone": "a"}, values), warnings=["a store is gone"])
    with prometheus_running(lambda _: body) as (url, requests):
        source = reader(tmp_path, url)
        part = await source.read(source.source.queries[0], SPAN)
    first, infinite = part.measurements
    assert (first.service_name, first.metric_name, first.value, first.time, first.labels) == (
        "shop",
        "rps",
        1.5,
        NOON,
        {"zone": "a"},
    )
    assert infinite.value == float("inf")  # rejected and counted when it is accepted
    assert (part.gaps, part.warnings) == (1, ["a store is gone"])
    # The last minute of a half-open span is the one before its end.
    assert (float(requests[0]["start"]), float(requests[0]["end"])) == (noon, noon + 540)


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (error_response(400, "parse error: unexpected end"), SourceRefusedError, "400: parse error: unexpected end"),
        (error_response(400, "exceeded maximum resolution of 11,000 points"), SourceTooLargeError, "11,000"),
        (error_response(422, "query processing would load too many samples into memory"), SourceTooLargeError, "422"),
        ((401, b"no"), SourceRefusedError, "check bearerTokenFile"),
        ((302, b""), SourceRefusedError, "redirects"),
        ((503, b"starting"), SourceUnavailableError, "503: starting"),
        ((429, b"slow down"), SourceUnavailableError, "429"),
        ((200, b"<html>"), SourceRefusedError, "did not return JSON"),
        (matrix(({"pod": "a"}, [(0, "1")])), SourceRefusedError, "has no label app"),
        (matrix(({"app": "a"}, [(0, "one")])), SourceRefusedError, "no number"),
    ],
)
async def test_a_response_without_rows_is_an_error_of_its_kind(
    tmp_path: Path, response: Response, error: type[Exception], message: str
) -> None:
    with prometheus_running(lambda _: response) as (url, _):
        source = reader(tmp_path, url)
        with pytest.raises(error) as raised:
            await source.read(source.source.queries[0], SPAN)
    assert message in str(raised.value)
    assert type(raised.value) is error


async def test_a_renewed_token_and_the_tenant_are_sent_with_each_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    headers: list[Mapping[str, str]] = []
    with prometheus_running(lambda _: matrix(), headers) as (url, _):
        source = reader(tmp_path, url, bearerTokenFile=str(token), headers={"X-Scope-OrgID": "shop"})
        for text in ("first", "second\n"):
            token.write_text(text)
            await source.read(source.source.queries[0], SPAN)
    assert [(sent["Authorization"], sent["X-Scope-OrgID"]) for sent in headers] == [
        ("Bearer first", "shop"),
        ("Bearer second", "shop"),
    ]


async def test_a_large_response_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus_module, "MAX_BODY_BYTES", 1000)
    with prometheus_running(series_response(lambda _: 1.0, series=50)) as (url, _):
        source = reader(tmp_path, url)
        with pytest.raises(SourceTooLargeError, match="sent more than 1000 bytes"):
            await source.read(source.source.queries[0], SPAN)


async def test_an_unreachable_server_and_unreadable_credentials_are_named(tmp_path: Path) -> None:
    source = reader(tmp_path, "http://127.0.0.1:1")
    with pytest.raises(SourceUnavailableError, match=r"http://127\.0\.0\.1:1/api/v1/query_range does not answer"):
        await source.read(source.source.queries[0], SPAN)
    source = reader(tmp_path, "http://127.0.0.1:1", bearerTokenFile=str(tmp_path / "token"))
    with pytest.raises(SettingsError, match="source prometheus: cannot read"):
        await source.read(source.source.queries[0], SPAN)
    (tmp_path / "ca.crt").write_text("no certificate")
    source = reader(tmp_path, "https://127.0.0.1:1", tls={"caFile": str(tmp_path / "ca.crt")})
    with pytest.raises(SettingsError, match="cannot use the certificates"):
        await source.read(source.source.queries[0], SPAN)
