"""`predictive-scaling ingest`: writes samples from Kafka to the database; `ingest rewind`: reads them again."""

import asyncio
import signal
import sys
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Annotated

import structlog
import typer

from predictive_scaling.clock import Clock, parse_clock
from predictive_scaling.errors import SettingsError
from predictive_scaling.ingest.administration import KafkaAdministration
from predictive_scaling.ingest.consumer import Ingest, Limits, Tables
from predictive_scaling.ingest.dead_letters import DeadLetterTopic
from predictive_scaling.ingest.formats import TopicFormat
from predictive_scaling.ingest.formats.reading import SeriesRules
from predictive_scaling.ingest.housekeeping import arrivals_task, loop_check, retention_task, wait_for_schema
from predictive_scaling.ingest.remote_write.receiver import RemoteWriteReceiver, TokenFile
from predictive_scaling.ingest.rewind import Rewound
from predictive_scaling.ingest.rewind import rewind as rewind_offsets
from predictive_scaling.ingest.sample_writer import SampleWriter
from predictive_scaling.ingest.series_register import SeriesLimits, SeriesRegister
from predictive_scaling.ingest.source import KafkaSource, consumer_options
from predictive_scaling.periodic_task import run_periodically
from predictive_scaling.settings import Settings, read_settings
from predictive_scaling.storage.database import Database
from predictive_scaling.storage.ingest_batches import IngestBatches
from predictive_scaling.storage.ingest_offsets import IngestOffsets
from predictive_scaling.storage.retention import Retention
from predictive_scaling.storage.sample_arrivals import SampleArrivals
from predictive_scaling.storage.samples import Samples
from predictive_scaling.telemetry.checks import database_check
from predictive_scaling.telemetry.kafka_check import kafka_check
from predictive_scaling.telemetry.logs import configure_logs
from predictive_scaling.telemetry.server import TelemetryServer

app = typer.Typer(invoke_without_command=True)
log = structlog.get_logger(__name__)


@app.callback()
def ingest(context: typer.Context) -> None:
    """Write samples from Kafka to the database, until SIGTERM or Ctrl-C."""
    if context.invoked_subcommand is None:
        settings = read_settings()
        clock = parse_clock(settings.clock)
        configure_logs(clock, level=settings.log_level, style=settings.log_format)
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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    options = consumer_options(settings.kafka_bootstrap_servers, settings.kafka_group, settings.kafka_options)
    async with Database(settings.database_url.get_secret_value(), purpose="ingest") as database:
        worker = Ingest(
            KafkaSource(options, settings.kafka_topic),
            KafkaAdministration(settings.kafka_bootstrap_servers, settings.kafka_options),
            DeadLetterTopic(settings.kafka_bootstrap_servers, settings.kafka_options, settings.kafka_dead_letter_topic),
            Tables(IngestBatches(database), IngestOffsets(database), Samples(database)),
            SeriesRegister(_series_limits(settings)),
            _limits(settings),
            clock,
            TopicFormat(settings.kafka_format, _series_rules(settings)),
        )
        kafka = kafka_check(settings.kafka_bootstrap_servers, settings.kafka_topic, settings.kafka_options)
        checks = [database_check(database), kafka]
        loop = loop_check(worker)
        async with TelemetryServer(
            settings.host,
            settings.ingest_port,
            checks=[*checks, loop, worker.limit_reports.check()],
            ready=checks,
            live=[loop],
        ):
            await _work(settings, clock, database, worker, stop)


async def _work(settings: Settings, clock: Clock, database: Database, worker: Ingest, stop: asyncio.Event) -> None:
    receiver = _receiver(settings, clock, database, worker)
    await wait_for_schema(database, worker, stop)
    arrivals = SampleArrivals(database)
    retention = Retention(database, settings.retention_raw, settings.retention_rollups)
    async with receiver, asyncio.TaskGroup() as tasks:
        housekeeping = [
            tasks.create_task(run_periodically(task, lambda: True))
            for task in (retention_task(retention.apply, clock), arrivals_task(worker.arrivals, arrivals))
        ]
        await worker.run(stop)
        for task in housekeeping:
            task.cancel()
    await worker.arrivals.write(arrivals)


def _receiver(
    settings: Settings, clock: Clock, database: Database, worker: Ingest
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
        SampleWriter(*tables, register, worker.limit_reports, worker.arrivals, clock),
        TokenFile(settings.remote_write_token_file),
        _series_rules(settings),
        _limits(settings),
        clock,
        host=settings.host,
        port=settings.remote_write_port,
    )


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
