"""The process table of the one-machine stack: what runs, after what, and how one knows that it is ready."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local import kafka, registry, superset
from local.config import REPOSITORY, Config

EXIT = "exit"  # ready when it has ended with status 0: a step, not a service
FILE = "file"  # ready when it has written its pid into the file that TOLLBOOK_READY_FILE names


@dataclass(frozen=True)
class Process:
    """One line of the table.

    `ready` lists what must hold: EXIT, FILE, an http:// address that answers 200, or a kafka:// address that
    answers with its brokers. `start_timeout_s` is how long that may take before it counts as a failed start.
    """

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    ready: tuple[str, ...] = (FILE,)
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: int = 120

    @property
    def is_step(self) -> bool:
        """Whether it runs once and ends, rather than serve."""
        return self.ready == (EXIT,)


NAMES = (
    "kafka",
    "registry",
    "clickhouse",
    "provision",
    "migrate",
    "rating",
    "windows",
    "sink",
    "notifier",
    "collector",
    "console",
    "superset-provision",
    "superset",
)


def process_table(config: Config, values: Mapping[str, str]) -> list[Process]:
    """Every process of the stack, in the order of starting; `values` are those of `stack.toml`."""
    at = config.addresses
    ours = _pipeline_environment(config, values)
    reader = {"TOLLBOOK_CLICKHOUSE_READER_PASSWORD": values["clickhouse_reader_password"]}
    dashboards = superset.environment(config, values) | reader
    return [
        Process(
            "kafka",
            tuple(kafka.command(config)),
            ready=(f"kafka://{at['kafka']}",),
        ),
        Process(
            "registry",
            tuple(registry.command(config)),
            ready=(at["registry"].replace("/apis/ccompat/v7", "/health/ready"), f"{at['registry']}/subjects"),
            environment=registry.environment(config, values["registry_password"]),
        ),
        Process(
            "clickhouse",
            _module("local.clickhouse"),
            ready=(f"{at['clickhouse']}/ping",),
            environment=ours | reader,
        ),
        Process(
            "provision",  # topics, schemas, their compatibility
            _module("schemas.provision"),
            after=("kafka", "registry"),
            ready=(EXIT,),
            environment=ours,
        ),
        Process(
            "migrate",  # tables and views of the warehouse
            _module("stream_processors.sink.migrate"),
            after=("clickhouse",),
            ready=(EXIT,),
            environment=ours,
        ),
        Process(
            "rating",
            _module("stream_processors.app", "rating"),
            after=("provision",),
            environment=ours | _named("rating"),
        ),
        Process(
            "windows",
            _module("stream_processors.app", "windows"),
            after=("provision",),
            environment=ours | _named("windows"),
        ),
        Process(
            "sink",
            _module("stream_processors.sink"),
            after=("provision", "migrate"),
            environment=ours | _named("sink"),
        ),
        Process(
            "notifier",
            _module("notifiers"),
            after=("provision",),
            environment=ours,
        ),
        Process(
            "collector",
            _module("producers.collector"),
            after=("provision",),
            ready=(f"{at['collector']}/health",),
            environment=ours,
        ),
        Process(
            "console",
            _module("stream_processors.console"),
            after=("provision",),
            ready=(f"{at['console']}/health",),
            environment=ours,
        ),
        Process(
            "superset-provision",
            superset.provision_command(config),
            after=("migrate",),
            ready=(EXIT,),
            environment=dashboards,
            start_timeout_s=600,
        ),
        Process(
            "superset",
            superset.command(config),
            after=("superset-provision",),
            ready=(f"{at['superset']}/health",),
            environment=dashboards,
            start_timeout_s=180,
        ),
    ]


def selected(table: list[Process], without: tuple[str, ...]) -> list[Process]:
    """The table without some processes; what those would have provided is taken as there."""
    left_out = {*without, "superset-provision"} if "superset" in without else set(without)
    return [process for process in table if process.name not in left_out]


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    # -P: a folder of the user's that is called like one of our packages must not be taken for it.
    return (sys.executable, "-P", "-m", name, *arguments)


def _named(worker: str) -> dict[str, str]:
    """One worker of each kind runs here: restarted, it takes over from itself at once."""
    return {"TOLLBOOK_INSTANCE": worker}


def _pipeline_environment(config: Config, values: Mapping[str, str]) -> dict[str, str]:
    settings = {name: values[name] for name in (*config.addresses, "clickhouse_password")}
    variables = {f"TOLLBOOK_{name.upper()}": value for name, value in settings.items()}
    own = {"TOLLBOOK_STATE_DIR": str(config.state_dir), "PYTHONPATH": str(REPOSITORY)}
    return variables | own | config.calendar_variable


def ready_file(config: Config, name: str) -> Path:
    """The file into which a process writes its pid when it is ready."""
    return config.state_dir / "ready" / name
