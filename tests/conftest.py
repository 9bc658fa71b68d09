"""Fixtures of the whole suite: the real stack, one a run; and a summary that says how many tests each suite ran."""

import os
import random
import signal
import socket
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from hypothesis import settings as hypothesis_settings
from xdist.scheduler import LoadScopeScheduling

from schemas.settings import Settings

# No test judges a pace: on a machine that is busy, an example may take long.
hypothesis_settings.register_profile("tollbook", deadline=None)
hypothesis_settings.load_profile("tollbook")

TESTS = Path(__file__).parent
SLOWEST_FIRST = ("browser", "faults", "integration", "unit", "contract")
PORTS = ("KAFKA", "KAFKA_CONTROLLER", "REGISTRY", "CLICKHOUSE", "SUPERSET", "COLLECTOR", "CONSOLE")
TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))

Environment = dict[str, str]
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]


# Run in the background of a shell, we and all we start would not hear Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, all different, and none that an outgoing connection may take meanwhile.

    Each worker of a parallel run has a range of its own.
    """
    first = 20_000 + 2_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    candidates = random.sample(range(first, first + 2_000), 1_000)
    return list(islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="session")
def new_stack_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    """Makes the variables of a stack that shares neither ports nor state with another."""

    def make() -> Environment:
        state_dir = tmp_path_factory.mktemp("stack") / "state"
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        return {"TOLLBOOK_STATE_DIR": str(state_dir)} | {f"TOLLBOOK_{name}_PORT": str(ports[name]) for name in ports}

    return make


@pytest.fixture(scope="session")
def run_tollbook() -> RunTollbook:
    """Runs the command line as a user does: `run_tollbook(environment, "up", "--detach")`."""

    def run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TOLLBOOK, *arguments],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def stack(new_stack_environment: Callable[[], Environment], run_tollbook: RunTollbook) -> Iterator[Environment]:
    """The whole stack but Superset, running: the `TOLLBOOK_*` variables that reach it, passwords included.

    `TOLLBOOK_TEST_STACK=<state directory>` takes a stack that runs already, and leaves it running.
    """
    running = os.environ.get("TOLLBOOK_TEST_STACK")
    if running:
        yield _with_addresses({"TOLLBOOK_STATE_DIR": running})
        return
    yield from running_stack(new_stack_environment(), run_tollbook)


def running_stack(environment: Environment, run_tollbook: RunTollbook) -> Iterator[Environment]:
    """Starts a stack without Superset, and ends it."""
    try:
        started = run_tollbook(environment, "up", "--detach", "--without", "superset")
        assert started.returncode == 0, started.stdout + started.stderr
        yield _with_addresses(environment)
    finally:
        stopped = run_tollbook(environment, "down")
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr


def _with_addresses(environment: Environment) -> Environment:
    values = tomllib.loads((Path(environment["TOLLBOOK_STATE_DIR"]) / "stack.toml").read_text())
    return environment | {f"TOLLBOOK_{name.upper()}": str(value) for name, value in values.items()}


@pytest.fixture(scope="session")
def settings(stack: Environment) -> Settings:
    """The settings of the running stack, for tests that call the code rather than the command line."""
    return settings_of(stack)


def settings_of(stack: Environment) -> Settings:
    """The settings that the variables of a stack state."""
    values = {name.removeprefix("TOLLBOOK_").lower(): value for name, value in stack.items()}
    return Settings.model_validate({name: values[name] for name in Settings.model_fields if name in values})


def group_members(kafka: str, group: str) -> int:
    """How many members the broker counts to a consumer group; -1 while it cannot say."""
    admin = AdminClient({"bootstrap.servers": kafka, "log_level": 2})
    try:
        return len(admin.describe_consumer_groups([group])[group].result(10).members)
    except (KafkaException, TimeoutError):
        return -1  # its coordinator does not answer now


class PartsScheduling(LoadScopeScheduling):
    """Deals the tests that share parts (those of a file, or of a folder with a `conftest.py`) to one worker.

    In the whole fault suite each file has a stack of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = TESTS.parent / nodeid.split("::")[0]
        alone = self.config.getoption("--table", default=False)
        return str(path.parent if path.with_name("conftest.py").exists() and not alone else path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> PartsScheduling:
    return PartsScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no worker is left with them at the end; within a suite the order stays random."""
    items.sort(key=lambda item: SLOWEST_FIRST.index(item.path.relative_to(TESTS).parts[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Counts outcomes by the folder under tests/ that the test lies in."""
    counts: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if getattr(report, "when", "call") == "call" or outcome != "passed":
                counts.setdefault(_suite(config, report.nodeid), Counter())[outcome] += 1
    terminalreporter.section("tests by suite")
    for suite, outcomes in sorted(counts.items()):
        terminalreporter.line(f"{suite}: " + ", ".join(f"{count} {name}" for name, count in outcomes.items()))


def _suite(config: pytest.Config, nodeid: str) -> str:
    path = config.rootpath / nodeid.split("::")[0]
    return path.relative_to(TESTS).parts[0] if path.is_relative_to(TESTS) else path.name
