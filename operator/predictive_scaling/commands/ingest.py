"""`predictive-scaling ingest`: writes samples from Kafka and pull sources to the database; `rewind`: reads again."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Annotated

import structlog
import typer

from predictive_scaling.access.serving_certificate import serving_certificate
from predictive_scaling.clock import Clock, parse_clock
from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.ingest.arrivals import Arrivals
from predictive_scaling.ingest.consumer import Ingest, Limits, Tables
from predictive_scaling.ingest.dead_letters import DeadLetterTopic
from predictive_scaling.ingest.formats import TopicFormat
from predictive_scaling.ingest.formats.reading import SeriesRules
from predictive_scaling.ingest.housekeeping import arrivals_task, loop_check, retention_task, wait_for_schema
from predictive_scaling.ingest.limit_reports import LimitReports
from predictive_scaling.ingest.remote_write.receiver import RECEIVER, RemoteWriteReceiver, TokenFile
from predictive_scaling.ingest.rewind import Rewound
from predictive_scaling.ingest.rewind import rewind as rewind_offsets
from predictive_scaling.ingest.sample_writer import SampleWriter
from predictive_scaling.ingest.series_register import SeriesLimits, SeriesRegister
from predictive_scaling.ingest.source import KafkaSource, consumer_options
from predictive_scaling.ingest.sources.configuration import AnySource, read_sources
from predictive_scaling.ingest.sources.poller import PullLimits
from predictive_scaling.ingest.sources.polling import poll_sources
from predictive_scaling.ingest.topics import Topics
from predictive_scaling.periodic_task import run_periodically
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.ingest_batches import IngestBatches
from predictive_scaling.storage.ingest_offsets import IngestOffsets
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.sample_arrivals import SampleArrivals
from predictive_scaling.storage.samples import Samples
from predictive_scaling.storage.source_positions import SourcePositions
from predictive_scaling.telemetry.checks import Check, database_check, sources_check
from predictive_scaling.telemetry.kafka_check import kafka_check
from predictive_scaling.telemetry.logs import configure_logs, log_file
from predictive_scaling.telemetry.server import TelemetryServer

app = typer.Typer(invoke_without_command=True)
log = structlog.get_logger(__name__)


@app.callback()
def ingest(context: typer.Context) -> None:
    """Write samples from Kafka and from pull sources to the database, until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is None:
        settings = read_settings()
        clock = parse_clock(settings.clock)
        file = log_file("ingest", settings.log_dir)
        configure_logs(clock, level=settings.log_level, style=settings.log_format, file=file)
        asyncio.run(_ingest(settings, clock))


@app.command()
def rewind(
    to: Annotated[str, typer.Option(metavar="TIME", help="RFC 3339 time with a zone, such as 2026-11-24T08:00:00Z.")],
) -> None:
    """Read again all messages that were read since TIME. Stop every `ingest` first; samples are not duplicated."""
    time, settings = _time(to), read_settings()
    clock = parse_clock(settings.clock)
    configure_logs(clock, level=settings.log_level, style=settings.log_format, stream=sys.stderr)
    rewound = asyncio.run(_rewind(settings, clock, time))
    for partition in rewound:
        typer.echo(f"partition {partition.partition}: from {partition.before} to {partition.after}")
    if not rewound:
        typer.echo("no messages were read since then")


async def _ingest(settings: Settings, clock: Clock) -> None:
    sources = () if settings.sources is None else read_sources(settings.sources)
    if not settings.kafka_bootstrap_servers and not sources and not settings.remote_write:
        raise SettingsError(
            "ingest has nothing to read; set KAFKA_BOOTSTRAP_SERVERS to the Kafka brokers, PREDICTIVE_SCALING_SOURCES "
            "to a file of pull sources (docs/sources.md), or PREDICTIVE_SCALING_REMOTE_WRITE"
        )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Database(
        settings.database_url.get_secret_value(), purpose="ingest", max_size=8 if sources else 4
    ) as database:
        worker = _consumer(settings, clock, database) if settings.kafka_bootstrap_servers else None
        reports = LimitReports() if worker is None else worker.limit_reports
        checks = [database_check(database)]
        if worker is not None:
            checks.append(kafka_check(settings.kafka_bootstrap_servers, settings.kafka_topic, settings.kafka_options))
        live = [] if worker is None else [loop_check(worker)]
        reading = [] if worker is None else [worker.backpressure.check()]
        async with TelemetryServer(
            settings.host,
            settings.ingest_port,
            checks=[*checks, *live, *reading, reports.check(), *_source_checks(sources, database, clock)],
            ready=checks,
            live=live,
        ):
            await _work(settings, clock, database, worker, sources, reports, stop)


def _consumer(settings: Settings, clock: Clock, database: Database) -> Ingest:
    options = consumer_options(settings.kafka_bootstrap_servers, settings.kafka_group, settings.kafka_options)
    return Ingest(
        KafkaSource(options, settings.kafka_topic),
        KafkaAdministration(settings.kafka_bootstrap_servers, settings.kafka_options),
        DeadLetterTopic(settings.kafka_bootstrap_servers, settings.kafka_options, settings.kafka_dead_letter_topic),
        Tables(IngestBatches(database), IngestOffsets(database), Samples(database)),
        SeriesRegister(_series_limits(settings)),
        _limits(settings),
        clock,
        TopicFormat(settings.kafka_format, _series_rules(settings)),
    )


def _source_checks(sources: Sequence[AnySource], database: Database, clock: Clock) -> list[Check]:
    positions = SourcePositions(database)

    async def problems() -> list[str]:
        return await positions.problems(clock.now())

    return [sources_check(problems)] if sources else []


async def _work(
    settings: Settings,
    clock: Clock,
    database: Database,
    worker: Ingest | None,
    sources: Sequence[AnySource],
    reports: LimitReports,
    stop: asyncio.Event,
) -> None:
    arrivals = Arrivals() if worker is None else worker.arrivals
    receiver = _receiver(settings, clock, database, reports, arrivals)
    await wait_for_schema(database, worker, stop)
    table = SampleArrivals(database)
    retention = Retention(database, settings.retention_raw, settings.retention_rollups)
    periodic = [retention_task(retention.apply, clock), arrivals_task(arrivals, table)]
    if settings.kafka_create_topics and worker is not None:
        periodic.append(_topics(settings).task())
    async with receiver, asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(run_periodically(task, lambda: True)) for task in periodic]
        if sources:
            background.append(tasks.create_task(_poll(settings, clock, database, sources, reports)))
        await (stop.wait() if worker is None else worker.run(stop))
        for task in background:
            task.cancel()
    await arrivals.write(table)


async def _poll(
    settings: Settings, clock: Clock, database: Database, sources: Sequence[AnySource], reports: LimitReports
) -> None:
    register = SeriesRegister(_series_limits(settings))
    writer = SampleWriter(IngestBatches(database), Samples(database), register, reports, Arrivals(), clock)
    limits = PullLimits(
        settings.sample_max_age, settings.sample_max_ahead, settings.retention_raw, settings.retention_rollups
    )
    await poll_sources(sources, database, writer, limits, clock)


def _receiver(
    settings: Settings, clock: Clock, database: Database, reports: LimitReports, arrivals: Arrivals
) -> AbstractAsyncContextManager[object]:
    """Return the receiver of remote write, or nothing to enter if it is off."""
    if not settings.remote_write:
        return nullcontext()
    if settings.remote_write_token_file is None:
        raise SettingsError(
            "PREDICTIVE_SCALING_REMOTE_WRITE needs PREDICTIVE_SCALING_REMOTE_WRITE_TOKEN_FILE, the file with the token "
            "of the senders"
        )
    register = SeriesRegister(_series_limits(settings))
    tables = (IngestBatches(database), Samples(database))
    return RemoteWriteReceiver(
        SampleWriter(*tables, register, reports, arrivals, clock),
        TokenFile(settings.remote_write_token_file),
        _series_rules(settings),
        _limits(settings),
        clock,
        host=settings.host,
        port=settings.remote_write_port,
        certificate=serving_certificate(settings.remote_write_certificate, settings.remote_write_key, RECEIVER),
    )


def _topics(settings: Settings) -> Topics:
    partitions = {settings.kafka_topic: settings.kafka_partitions, settings.kafka_dead_letter_topic: 1}
    return Topics(settings.kafka_bootstrap_servers, settings.kafka_options, partitions)


def _limits(settings: Settings) -> Limits:
    return Limits(
        settings.ingest_batch_size, settings.ingest_batch_wait, settings.sample_max_age, settings.sample_max_ahead
    )


def _series_rules(settings: Settings) -> SeriesRules:
    return SeriesRules(settings.stream_service_labels, settings.stream_counter_metrics)


def _series_limits(settings: Settings) -> SeriesLimits:
    return SeriesLimits(
        settings.max_services,
        settings.max_metrics_per_service,
        settings.max_series_per_service,
        settings.series_active_for,
    )


async def _rewind(settings: Settings, clock: Clock, to: datetime) -> list[Rewound]:
    if not settings.kafka_bootstrap_servers:
        raise SettingsError("rewind reads a Kafka topic again; set KAFKA_BOOTSTRAP_SERVERS")
    async with Database(settings.database_url.get_secret_value(), purpose="rewind", max_size=1) as database:
        return await rewind_offsets(
            KafkaAdministration(settings.kafka_bootstrap_servers, settings.kafka_options),
            IngestOffsets(database),
            topic=settings.kafka_topic,
            group=settings.kafka_group,
            to=to,
            raw_retention=settings.retention_raw,
            clock=clock,
        )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise SettingsError(f"--to is {text!r}; write an RFC 3339 time with a zone, such as 2026-11-24T08:00:00Z")
    return time
