"""Remote write over HTTP to a real PostgreSQL: what is answered, and what is stored by then."""

import asyncio
import io
import shutil
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import REGISTRY

from predictive_scaling.access.serving_certificate import ServingCertificate
from predictive_scaling.clock import Clock, ManualClock, WallClock
from predictive_scaling.errors import DatabaseUnavailableError, SettingsError
from predictive_scaling.ingest.arrivals import Arrivals
from predictive_scaling.ingest.consumer import Limits
from predictive_scaling.ingest.formats.reading import SeriesRules
from predictive_scaling.ingest.limit_reports import LimitReports
from predictive_scaling.ingest.remote_write.receiver import (
    MAX_BODY_BYTES,
    MAX_REQUESTS,
    RECEIVER,
    RemoteWriteReceiver,
    TokenFile,
)
from predictive_scaling.ingest.sample_writer import SampleWriter, Written
from predictive_scaling.ingest.series_register import SeriesLimits, SeriesRegister
from predictive_scaling.resources.series_key import SeriesKey
from predictive_scaling.stack.certificates import Authority, CertificateFiles, new_authority
from predictive_scaling.stack.ports import free_port
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.demand import Demand
from predictive_scaling.storage.ingest_batches import IngestBatches
from predictive_scaling.storage.samples import Sample, Samples
from tests.support.eventually import eventually
from tests.support.prometheus_server import prometheus_server
from tests.support.remote_writing import HEADERS, a_request, a_series

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOKEN = "sender-token"
AUTHORIZED = {**HEADERS, "Authorization": f"Bearer {TOKEN}"}
LIMITS = Limits(1000, timedelta(0), timedelta(days=400), 5 * MINUTE)


def a_writer(database: Database, clock: Clock | None = None) -> SampleWriter:
    register = SeriesRegister(SeriesLimits(services=2, metrics=10, series=3))
    clock = clock or ManualClock(START + 3 * MINUTE)
    return SampleWriter(IngestBatches(database), Samples(database), register, LimitReports(), Arrivals(), clock)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


def a_receiver(
    writer: SampleWriter,
    token_file: Path,
    clock: Clock | None = None,
    certificate: ServingCertificate | None = None,
) -> RemoteWriteReceiver:
    clock = clock or ManualClock(START + 3 * MINUTE)
    return RemoteWriteReceiver(
        writer,
        TokenFile(token_file),
        SeriesRules(),
        LIMITS,
        clock,
        host="127.0.0.1",
        port=0,
        certificate=certificate,
    )


@dataclass
class Tls:
    """An authority, and the files of the receiver's certificate."""

    authority: Authority
    files: CertificateFiles
    issued: int = 0

    def install(self) -> bytes:
        """Issue another certificate and replace the files, the key first; return the certificate."""
        self.issued += 1
        issued = self.authority.issue("receiver", f"receiver-{self.issued}", ["127.0.0.1"])
        shutil.copy(issued.key, self.files.key)
        shutil.copy(issued.certificate, self.files.certificate)
        return issued.certificate.read_bytes()

    def certificate(self) -> ServingCertificate:
        return ServingCertificate(self.files.certificate, self.files.key, RECEIVER)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    tls = Tls(new_authority(tmp_path, "ca", WallClock().now()), CertificateFiles(tmp_path / "crt", tmp_path / "key"))
    tls.install()
    return tls


@pytest.fixture
async def receiver(database: Database, token_file: Path) -> AsyncGenerator[RemoteWriteReceiver]:
    async with a_receiver(a_writer(database), token_file) as receiver:
        yield receiver


async def post(
    receiver: RemoteWriteReceiver, body: bytes, headers: Mapping[str, str] = AUTHORIZED
) -> tuple[int, str, Mapping[str, str]]:
    url = f"http://127.0.0.1:{receiver.port}/api/v1/write"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, await response.text(), response.headers


async def stored(database: Database) -> int:
    async with database.connection() as connection:
        row = await (await connection.execute("select count(*) from metrics_raw")).fetchone()
    return row[0] if row else 0


async def test_samples_are_stored_before_the_answer_and_once(receiver: RemoteWriteReceiver, database: Database) -> None:
    points = [(START + minute * MINUTE, 120.0 * minute) for minute in range(3)]
    body = a_request(a_series("requests_total", *points, service="checkout", pod="a"))
    for _ in range(2):
        status, text, _ = await post(receiver, body)
        assert (status, text) == (204, "")
        assert await stored(database) == 3
    key = SeriesKey("checkout", "requests_total")
    demand = (await Demand(database).minutes([key], START, START + 2 * MINUTE))[key]
    assert demand.tolist() == [2, 2]


async def test_a_real_prometheus_sends_its_samples_over_tls(
    database: Database, token_file: Path, tls: Tls, tmp_path: Path
) -> None:
    """It scrapes itself each second and sends the metric `up`."""
    clock, port = WallClock(), free_port()
    async with a_receiver(a_writer(database, clock), token_file, clock, tls.certificate()) as receiver:
        configuration = {
            "global": {"scrape_interval": "1s", "external_labels": {"service": "prometheus"}},
            "scrape_configs": [{"job_name": "itself", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
            "remote_write": [
                {
                    "url": f"https://127.0.0.1:{receiver.port}/api/v1/write",
                    "tls_config": {"ca_file": str(tls.authority.file)},
                    "authorization": {"credentials_file": str(token_file)},
                    "write_relabel_configs": [{"source_labels": ["__name__"], "regex": "up", "action": "keep"}],
                    "queue_config": {"batch_send_deadline": "1s"},
                }
            ],
        }
        async with prometheus_server(tmp_path / "prometheus", configuration, port=port):
            await eventually(lambda: stored(database), lambda count: count >= 2, seconds=20)
    async with database.connection() as connection:
        rows = await (
            await connection.execute("select distinct service_name, metric_name, value from metrics_raw")
        ).fetchall()
    assert rows == [("prometheus", "up", 1.0)]


async def test_a_renewed_certificate_is_served_without_a_missed_request(
    database: Database, token_file: Path, tls: Tls
) -> None:
    trust = ssl.create_default_context(cafile=tls.authority.file)
    counter = "predictive_scaling_ingest_remote_write_certificate_reloads_total"
    answers: list[int] = []

    async def send(receiver: RemoteWriteReceiver) -> None:
        """Send requests, each on a connection of its own, until one fails."""
        while True:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, force_close=True)) as session,
                session.post(
                    f"https://127.0.0.1:{receiver.port}/api/v1/write", data=io.BytesIO(BODY), headers=AUTHORIZED
                ) as response,
            ):
                answers.append(response.status)

    async def count() -> int:
        return len(answers)

    async def reloads(result: str) -> float | None:
        return REGISTRY.get_sample_value(counter, {"result": result})

    certificate = tls.certificate()
    async with a_receiver(a_writer(database), token_file, certificate=certificate) as receiver:

        def served() -> bytes:
            return ssl.get_server_certificate(("127.0.0.1", receiver.port)).encode()

        sending = asyncio.create_task(send(receiver))
        first, refused, loaded = await asyncio.to_thread(served), await reloads("refused"), await reloads("loaded")
        # Half of a rotation: the certificate in use stays.
        await asyncio.to_thread(tls.files.key.write_text, "no key")
        await certificate.reload_if_changed()
        assert await reloads("refused") != refused
        assert await asyncio.to_thread(served) == first
        renewed = await asyncio.to_thread(tls.install)
        await eventually(lambda: reloads("loaded"), lambda value: value != loaded)
        assert await asyncio.to_thread(served) == renewed
        after = len(answers) + 5
        await eventually(count, lambda number: number >= after)
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(receiver, BODY)
        assert not sending.done()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert set(answers) == {204}


async def test_a_partly_invalid_request_stores_the_valid_samples_and_explains_the_others(
    receiver: RemoteWriteReceiver, database: Database
) -> None:
    body = a_request(
        a_series("up", (START, 1)),
        a_series("queue", (START, 3), (START - timedelta(days=500), 1), (START + 9 * MINUTE, 1), service="checkout"),
        a_series("temperature", (START, -4), service="checkout"),
    )
    status, text, _ = await post(receiver, body)
    assert status == 400
    assert text.startswith("4 samples rejected, 1 stored: 2 timestamp_out_of_range, such as: ")
    assert "1 missing_field, such as: up names no service" in text
    assert "1 negative" in text
    assert await stored(database) == 1


async def test_series_beyond_the_limit_are_rejected_and_known_ones_are_not(
    receiver: RemoteWriteReceiver, database: Database
) -> None:
    series = [a_series("queue", (START, 1), service="checkout", pod=str(pod)) for pod in range(5)]
    status, text, _ = await post(receiver, a_request(*series))
    assert status == 400
    assert text.startswith("2 samples rejected, 3 stored: 2 series_limit")
    known = [a_series("queue", (START + MINUTE, 1), service="checkout", pod=str(pod)) for pod in range(3)]
    assert (await post(receiver, a_request(*known)))[0] == 204
    assert await stored(database) == 6


BODY = a_request(a_series("queue", (START, 3), service="checkout"))


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        (BODY, HEADERS, 401, "needs the bearer token"),
        (BODY, {**HEADERS, "Authorization": "Bearer another"}, 401, "needs the bearer token"),
        (BODY, {**HEADERS, "Authorization": "Basic c2VuZGVy"}, 401, "another scheme"),
        (BODY, {**AUTHORIZED, "Content-Type": "application/json"}, 415, "application/x-protobuf"),
        (
            BODY,
            {**AUTHORIZED, "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
            415,
            "remote write 2.0 is not supported; set `protobuf_message: prometheus.WriteRequest`",
        ),
        (BODY, {**AUTHORIZED, "Content-Encoding": "identity"}, 415, "must be snappy"),
        (b"x" * (MAX_BODY_BYTES + 1), AUTHORIZED, 413, "lower max_samples_per_send"),
        (b"\xff\xff\xff\xff\x0f", AUTHORIZED, 413, "decompressed"),
        (b"garbage", AUTHORIZED, 400, "snappy"),
    ],
)
async def test_a_request_that_never_succeeds_is_refused_with_the_reason(
    receiver: RemoteWriteReceiver,
    database: Database,
    body: bytes,
    headers: Mapping[str, str],
    status: int,
    message: str,
) -> None:
    code, text, answer = await post(receiver, body, headers)
    assert code == status
    assert message in text
    assert TOKEN not in text
    assert ("WWW-Authenticate" in answer) == (status == 401)
    assert await stored(database) == 0


async def test_the_content_type_of_the_first_version_may_name_its_message(receiver: RemoteWriteReceiver) -> None:
    headers = {**AUTHORIZED, "Content-Type": "application/x-protobuf;proto=prometheus.WriteRequest"}
    assert (await post(receiver, BODY, headers))[0] == 204


async def test_a_changed_token_is_used_at_once(receiver: RemoteWriteReceiver, token_file: Path) -> None:
    await asyncio.to_thread(token_file.write_text, "next-token")
    assert (await post(receiver, BODY))[0] == 401
    assert (await post(receiver, BODY, {**HEADERS, "Authorization": "Bearer next-token"}))[0] == 204
    await asyncio.to_thread(token_file.unlink)
    status, text, _ = await post(receiver, BODY)
    assert (status, str(token_file) in text) == (503, False)


def test_a_receiver_without_a_token_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="REMOTE_WRITE_TOKEN_FILE: cannot read"):
        TokenFile(tmp_path / "missing")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(SettingsError, match="holds no bearer token"):
        TokenFile(tmp_path / "empty")


class SlowWriter(SampleWriter):
    """A writer that waits for `proceed`; without a database if it is set to fail."""

    def __init__(self) -> None:
        self.proceed = asyncio.Event()
        self.started = 0
        self.fails = False

    async def write(self, samples: Sequence[Sample]) -> Written:
        self.started += 1
        await self.proceed.wait()
        if self.fails:
            raise DatabaseUnavailableError("down")
        return Written(len(samples), [])


async def test_requests_beyond_those_being_written_are_to_be_repeated_later(token_file: Path) -> None:
    writer = SlowWriter()
    async with a_receiver(writer, token_file) as receiver:
        waiting = [asyncio.create_task(post(receiver, BODY)) for _ in range(MAX_REQUESTS)]

        async def started() -> int:
            return writer.started

        await eventually(started, lambda count: count == MAX_REQUESTS)
        status, text, headers = await post(receiver, BODY)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "repeat this one later" in text
        writer.proceed.set()
        assert {answer[0] for answer in await asyncio.gather(*waiting)} == {204}
        writer.fails = True
        status, text, headers = await post(receiver, BODY)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "the database is not available" in text
