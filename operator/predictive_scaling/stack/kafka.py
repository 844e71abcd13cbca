"""Kafka: a real KRaft broker if Java and Maven are available, else librdkafka's mock cluster, with a notice."""

import asyncio
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from predictive_scaling.errors import StackError
from predictive_scaling.stack import toolchain
from predictive_scaling.stack.cache import cache_folder, cached
from predictive_scaling.stack.ports import LOOPBACK, free_ports
from predictive_scaling.stack.processes import Child, SingleProcess, run
from predictive_scaling.stack.progress import Notify

TOPICS = {"metrics.raw": 4, "metrics.dead-letter": 1}
"""The topics that `start` creates, with their number of partitions."""
VERSION = "4.1.0"
"""Of the broker and the command line tools."""

_SOURCES = Path(__file__).parent / "kafka_server"
_CONFIGURATION, _LOGGING, _LIBRARIES, _CLASSES = "server.properties", "log4j2.yaml", "libraries", "classes.jsa"
_CLUSTER_ID = "cHJlZGljdGl2ZS1zY2FsZQ"
_JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_RESPONSE_SECONDS = 120
_MOCK = "using librdkafka's mock cluster instead: it implements the protocol, persists nothing and cannot be restarted"


class Kafka(SingleProcess):
    """A broker; acknowledged messages survive a stop or a kill.

    `is_real` is False for the mock cluster, which runs in this process, has no `server` and does not persist messages.
    """

    is_real = True

    def __init__(self, folder: Path, notify: Notify) -> None:
        self.folder = folder
        self._notify = notify
        self._port, self._controller_port = free_ports(2)
        self._mock: Producer | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The value for KAFKA_BOOTSTRAP_SERVERS."""
        return f"{LOOPBACK}:{self._port}"

    async def start(self) -> None:
        """Start the broker; on the first start create TOPICS. Raises StackError with the end of its log."""
        first = self._child is None and self._mock is None
        if first:
            await self._prepare()
        if self._child is not None:
            await self._child.start()
        if first:
            for topic, partitions in TOPICS.items():
                await self.create_topic(topic, partitions)

    async def stop(self) -> None:
        """Stop the broker gracefully; it may be started again on the same port. The mock cluster loses its data."""
        self._mock = None
        await super().stop()

    async def archive_classes(self, java: Path, libraries: Path, folder: Path) -> None:
        """Start and stop the broker, which writes an archive of the classes that it loads to `folder`."""
        self.folder.mkdir()
        await self._prepare_broker(java, libraries, archived=(f"-XX:ArchiveClassesAtExit={_CLASSES}",))
        try:
            await self.start()
            await self.create_topic("any")
        finally:
            # It writes the archive before it ends, which a slow machine needs time for.
            await self.server.stop(self.server.deadline_seconds)
        archive = self.folder / _CLASSES
        if archive.is_file():
            archive.rename(folder / _CLASSES)
        shutil.rmtree(self.folder)

    async def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic, unless it exists. Raises StackError if the broker refuses."""
        await asyncio.to_thread(self._create_topic, name, partitions)

    def _create_topic(self, name: str, partitions: int) -> None:
        if self._mock is not None:
            self._mock.list_topics(name, timeout=_RESPONSE_SECONDS)  # the mock creates a topic on the first request
            return
        admin = self._admin()  # kept until the response: deleting it aborts its requests
        created = admin.create_topics([NewTopic(name, num_partitions=partitions, replication_factor=1)])
        try:
            created[name].result(timeout=_RESPONSE_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StackError(
                    f"Kafka at {self.bootstrap_servers} did not create the topic {name}: {error}"
                ) from error

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})

    async def _prepare(self) -> None:
        try:
            java, libraries = await installed(self._notify)
        except StackError as error:
            self._start_mock(error)
            return
        archive = await _class_archive(java, libraries, self._notify)
        self.folder.mkdir(parents=True, exist_ok=True)
        options: tuple[str, ...] = ()
        if archive is not None:
            (self.folder / _CLASSES).symlink_to(archive)
            options = (f"-XX:SharedArchiveFile={_CLASSES}", "-Xlog:cds=off")
        await self._prepare_broker(java, libraries, options)

    async def _prepare_broker(
        self, java: Path, libraries: Path, shared: Sequence[str] = (), archived: Sequence[str] = ()
    ) -> None:
        """Format the folder. shared, archived: options of the JVM to use an archive of classes and to write one."""
        # Relative to the folder: an absolute path could contain a character that separates paths or lists.
        (self.folder / _LIBRARIES).symlink_to(libraries)
        shutil.copy(_SOURCES / _LOGGING, self.folder)
        (self.folder / _CONFIGURATION).write_text(self._configuration())
        java_command = [java, *_JVM, *shared]
        classes = [f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", f"{_LIBRARIES}/*"]
        format_folder = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", _CONFIGURATION)
        await run(*java_command, *classes, *format_folder, folder=self.folder, purpose="formatting Kafka's folder")
        self._child = Child(
            name="Kafka",
            command=[*java_command, *archived, *classes, "kafka.Kafka", _CONFIGURATION],
            folder=self.folder,
            log=self.folder / "kafka.log",
            ready=self._answers,
        )

    def _start_mock(self, error: StackError) -> None:
        self.is_real = False
        self._notify(f"no real Kafka: {error}\n{_MOCK}")
        self._mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
        brokers = self._mock.list_topics(timeout=_RESPONSE_SECONDS).brokers
        self._port = int(next(iter(brokers.values())).port)

    async def _answers(self) -> None:
        await asyncio.to_thread(self._admin().list_topics, timeout=2)

    def _configuration(self) -> str:
        properties = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{LOOPBACK}:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{LOOPBACK}:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": "data",
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 1000,
            # An idle broker takes half the CPU time without a record of its own twice a second and with few threads.
            "metadata.max.idle.interval.ms": 0,
            "background.threads": 2,
            "num.io.threads": 2,
            "num.network.threads": 1,
        }
        return "".join(f"{name}={value}\n" for name, value in properties.items())


def is_fetched() -> bool:
    """Whether Kafka's libraries are in the cache."""
    return (cache_folder() / "kafka" / VERSION).is_dir()


async def prepare(notify: Notify) -> None:
    """Fetch the files of a real broker, or report that the mock cluster is used, with the reason."""
    try:
        java, libraries = await installed(notify)
    except StackError as error:
        notify(f"no real Kafka: {error}\n{_MOCK}")
    else:
        await _class_archive(java, libraries, notify)


async def installed(notify: Notify) -> tuple[Path, Path]:
    """Return Java and the folder of Kafka's libraries, which Maven fetches if missing, with the runbook's admin tools.

    Raises StackError with the missing program and the remedy.
    """
    java = await toolchain.java(notify)

    async def fetch(folder: Path) -> None:
        maven = await toolchain.maven(notify)
        notify(f"fetching Kafka {VERSION} by Maven (54 MB), about half a minute")
        shutil.copy(_SOURCES / "pom.xml", folder)
        copy = ("-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libraries")
        home = {"JAVA_HOME": str(java.resolve().parent.parent)}
        await run(
            maven,
            *toolchain.maven_options(),
            *copy,
            folder=folder,
            environment=home,
            purpose=f"fetching Kafka {VERSION}",
        )

    return java, await cached("kafka", VERSION, fetch, notify) / "libraries"


async def _class_archive(java: Path, libraries: Path, notify: Notify) -> Path | None:
    """Return an archive of the classes that a broker loads, with which it starts in half of the time.

    A first broker makes it. None if the cache is not writable, or if Java has no archive of its own classes, which it
    needs for others. The JVM ignores an archive of another Java or other libraries.
    """

    async def archive(folder: Path) -> None:
        notify("archiving the classes of Kafka, about ten seconds")
        await Kafka(folder / "broker", notify).archive_classes(java, libraries, folder)

    try:
        file = await cached("kafka-classes", _identity(java, libraries), archive, notify) / _CLASSES
    except OSError as error:
        notify(f"Kafka starts without an archive of its classes, seconds later: {error}")
        return None
    return file if file.is_file() else None


def _identity(java: Path, libraries: Path) -> str:
    release = java.resolve().parent.parent / "release"
    version = release.read_text(encoding="utf-8") if release.is_file() else ""
    identity = f"{java.resolve()}\n{version}\n{libraries.stat().st_mtime_ns}"
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
