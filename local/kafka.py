"""The Kafka broker of the one-machine stack: Apache Kafka in KRaft mode, one node that is broker and controller."""

import base64
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from local import java
from local.config import HOST, Config
from local.downloads import Artifact, cached, read_lock

JARS: list[Artifact] = read_lock(Path(__file__).with_name("kafka.lock"))
# The second compiler would take 3 s of CPU in the broker's first 20 s and serve copies of bytes no faster, measured.
FLAGS = ("-Xmx768m", "-XX:TieredStopAtLevel=1")
MAX_MESSAGE_BYTES = 17 * 1024 * 1024  # a block is split at 16 MB; the rest is room for its envelope
OFFSETS_RETENTION_MINUTES = 400 * 24 * 60  # as long as blocks are kept: a stage that was off finds its place
CLEANER_BUFFER_BYTES = 16 * 1024 * 1024  # the default takes 128 MB of the heap
METADATA_IDLE_MS = 10_000  # the controller writes a record that says nothing so often; the default is twice a second
LOG_LAYOUT = """\
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = [%d] %p %m (%c)%n
"""


def server_properties(config: Config) -> str:
    """The broker's `server.properties`: loopback only, no topic made by accident."""
    broker, controller = f"{HOST}:{config.ports.kafka}", f"{HOST}:{config.ports.kafka_controller}"
    listeners = f"PLAINTEXT://{broker},CONTROLLER://{controller}"
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        # A static quorum: it follows a changed port, a dynamic one keeps the old address in its log.
        "controller.quorum.voters": f"1@{controller}",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": _data_dir(config),
        "auto.create.topics.enable": "false",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        "offsets.retention.minutes": OFFSETS_RETENTION_MINUTES,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        "metadata.max.idle.interval.ms": METADATA_IDLE_MS,
        "log.cleaner.dedupe.buffer.size": CLEANER_BUFFER_BYTES,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def prepare(config: Config) -> None:
    """Writes the broker's configuration and, once, formats its data directory.

    Raises java.JavaError when formatting fails.
    """
    home = _home(config)
    home.mkdir(parents=True, exist_ok=True)
    _properties_file(config).write_text(server_properties(config))
    _log_layout_file(config).write_text(LOG_LAYOUT)
    if not (_data_dir(config) / "meta.properties").exists():
        _format(config)


def command(config: Config) -> list[str]:
    """The command that runs the broker in the foreground."""
    return [*_java(config), "kafka.Kafka", str(_properties_file(config))]


def _format(config: Config) -> None:
    tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id", cluster_id(uuid.uuid4)]
    run = subprocess.run(
        [*_java(config), *tool, "--config", str(_properties_file(config))],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise java.JavaError(f"Kafka's data directory cannot be formatted:\n{run.stdout}{run.stderr}")


def cluster_id(random_uuid: Callable[[], uuid.UUID]) -> str:
    """A random id as Kafka writes it; like Kafka's own it does not begin with a dash, which would be an option."""
    text = "-"
    while text.startswith("-"):
        text = base64.urlsafe_b64encode(random_uuid().bytes).decode().rstrip("=")
    return text


def _java(config: Config) -> list[str]:
    class_path = ":".join(str(cached(jar, config.cache_dir)) for jar in JARS)
    layout = f"-Dlog4j2.configurationFile={_log_layout_file(config)}"
    return [java.executable(), *FLAGS, layout, *java.QUIET, "-cp", class_path]


def _home(config: Config) -> Path:
    return config.state_dir / "kafka"


def _data_dir(config: Config) -> Path:
    return _home(config) / "data"


def _properties_file(config: Config) -> Path:
    return _home(config) / "server.properties"


def _log_layout_file(config: Config) -> Path:
    return _home(config) / "log4j2.properties"
