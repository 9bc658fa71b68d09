"""`tollbook up`, `down`, `status`: a stack of the two Java services, which these tests may kill."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from local.config import SECRETS
from local.processes import NAMES

Environment = dict[str, str]
NewEnvironment = Callable[[], Environment]
RunTollbook = Callable[..., subprocess.CompletedProcess[str]]
ReadStatus = Callable[[Environment], dict[str, Any]]

KEPT = ("kafka", "registry")
WITHOUT = [argument for name in NAMES if name not in KEPT for argument in ("--without", name)]
TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))


@pytest.fixture(scope="module")
def small(new_stack_environment: NewEnvironment, run_tollbook: RunTollbook) -> Iterator[Environment]:
    """A state directory and ports; `down` is called at the end, whatever the tests left running."""
    environment = new_stack_environment()
    yield environment
    run_tollbook(environment, "down")


@pytest.fixture
def up(small: Environment, run_tollbook: RunTollbook) -> Environment:
    """The small stack, running and ready."""
    started = run_tollbook(small, "up", "--detach", *WITHOUT)
    assert started.returncode == 0, started.stdout + started.stderr
    return small


@pytest.fixture
def read_status(run_tollbook: RunTollbook) -> ReadStatus:
    def read(environment: Environment) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(run_tollbook(environment, "status", "--json").stdout)
        return report

    return read


def pids(report: dict[str, Any]) -> dict[str, int]:
    return {entry["name"]: entry["pid"] for entry in report["processes"]}


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.2)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_status_names_processes_and_addresses(up: Environment, read_status: ReadStatus) -> None:
    report = read_status(up)
    assert [(entry["name"], entry["state"]) for entry in report["processes"]] == [(name, "ready") for name in KEPT]
    assert all(psutil.pid_exists(entry["pid"]) and entry["rss_bytes"] > 0 for entry in report["processes"])
    assert report["addresses"]["kafka"] == f"127.0.0.1:{up['TOLLBOOK_KAFKA_PORT']}"
    assert AdminClient({"bootstrap.servers": report["addresses"]["kafka"]}).list_topics(timeout=10).brokers


def test_lag_that_cannot_be_read_is_told(up: Environment, run_tollbook: RunTollbook, read_status: ReadStatus) -> None:
    shown = run_tollbook(up, "status")  # there are no topics to tell it from
    assert shown.returncode == 0
    assert "The lag could not be read: Kafka does not answer, or its topics are not made yet." in shown.stdout
    assert read_status(up)["lag"] is None


def test_second_up_changes_nothing(up: Environment, run_tollbook: RunTollbook, read_status: ReadStatus) -> None:
    before = read_status(up)
    again = run_tollbook(up, "up", "--detach", *WITHOUT)
    assert again.returncode == 0
    assert "nothing changed" in again.stdout
    assert (pids(read_status(up)), read_status(up)["supervisor"]) == (pids(before), before["supervisor"])


@pytest.mark.parametrize("name", KEPT)
def test_killed_process_is_restarted(
    up: Environment, name: str, run_tollbook: RunTollbook, read_status: ReadStatus
) -> None:
    before = read_status(up)
    os.kill(pids(before)[name], signal.SIGKILL)
    wait_for(lambda: pids(read_status(up))[name] not in (None, pids(before)[name]), timeout_s=60)
    wait_for(lambda: run_tollbook(up, "status").returncode == 0, timeout_s=150)
    counts = {entry["name"]: entry["restarts"] for entry in read_status(up)["processes"]}
    earlier = {entry["name"]: entry["restarts"] for entry in before["processes"]}
    assert counts == earlier | {name: earlier[name] + 1}


def test_killed_supervisor_takes_its_children_along(
    up: Environment, run_tollbook: RunTollbook, read_status: ReadStatus
) -> None:
    report = read_status(up)
    os.kill(report["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: all(gone(pid) for pid in pids(report).values()), timeout_s=5)
    assert run_tollbook(up, "status").returncode == 3
    assert run_tollbook(up, "up", "--detach", *WITHOUT).returncode == 0


def test_down_leaves_no_process(up: Environment, run_tollbook: RunTollbook, read_status: ReadStatus) -> None:
    report = read_status(up)
    descendants = [child.pid for child in psutil.Process(report["supervisor"]["pid"]).children(recursive=True)]
    assert set(pids(report).values()) <= set(descendants)
    assert run_tollbook(up, "down").returncode == 0
    assert all(gone(pid) for pid in [report["supervisor"]["pid"], *descendants])
    assert "Nothing was running" in run_tollbook(up, "down").stdout
    assert read_status(up)["processes"] == []


def test_restart_keeps_topics_and_secrets(up: Environment, run_tollbook: RunTollbook) -> None:
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{up['TOLLBOOK_KAFKA_PORT']}"})
    topic = f"kept-{uuid.uuid4()}"
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    stack_file = Path(up["TOLLBOOK_STATE_DIR"]) / "stack.toml"
    secrets = stack_file.read_text()
    assert run_tollbook(up, "down").returncode == 0
    assert run_tollbook(up, "up", "--detach", *WITHOUT).returncode == 0
    assert topic in admin.list_topics(timeout=10).topics
    assert stack_file.read_text() == secrets


def test_secrets_are_private(up: Environment) -> None:
    stack_file = Path(up["TOLLBOOK_STATE_DIR"]) / "stack.toml"
    assert stat.S_IMODE(stack_file.stat().st_mode) == 0o600
    values = tomllib.loads(stack_file.read_text())
    secrets = [values[name] for name in SECRETS]
    assert len(set(secrets)) == len(SECRETS)
    assert all(len(secret) >= 32 for secret in secrets)


def test_taken_port_is_refused_before_anything_starts(
    new_stack_environment: NewEnvironment, run_tollbook: RunTollbook
) -> None:
    environment = new_stack_environment()
    with socket.create_server(("127.0.0.1", int(environment["TOLLBOOK_REGISTRY_PORT"]))):
        refused = run_tollbook(environment, "up", "--detach", *WITHOUT)
    assert refused.returncode == 1
    assert f"port {environment['TOLLBOOK_REGISTRY_PORT']} (registry)" in refused.stderr
    assert "TOLLBOOK_REGISTRY_PORT" in refused.stderr
    assert run_tollbook(environment, "status").returncode == 3


def test_unwritable_state_is_refused(new_stack_environment: NewEnvironment, run_tollbook: RunTollbook) -> None:
    environment = new_stack_environment() | {"TOLLBOOK_STATE_DIR": "/proc/none"}
    refused = run_tollbook(environment, "up", "--detach", *WITHOUT)
    assert refused.returncode == 1
    assert "/proc/none is not writable" in refused.stderr


def test_process_that_cannot_start_says_why(new_stack_environment: NewEnvironment, run_tollbook: RunTollbook) -> None:
    environment = new_stack_environment()
    state_dir = Path(environment["TOLLBOOK_STATE_DIR"])
    identity = state_dir / "kafka" / "data" / "meta.properties"
    identity.parent.mkdir(parents=True)
    identity.write_text("version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\nnode.id=7\n")
    failed = run_tollbook(environment, "up", "--detach", *WITHOUT)
    assert failed.returncode == 1
    assert "kafka cannot start" in failed.stderr
    assert "meta.properties" in failed.stderr
    assert str(state_dir / "logs" / "kafka.log") in failed.stderr
    assert run_tollbook(environment, "status").returncode == 3


def test_foreground_up_stops_everything_at_interrupt(
    new_stack_environment: NewEnvironment,
    run_tollbook: RunTollbook,
    read_status: ReadStatus,
) -> None:
    environment = new_stack_environment()
    foreground = subprocess.Popen(
        [TOLLBOOK, "up", *WITHOUT], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: run_tollbook(environment, "status").returncode == 0, timeout_s=150)
        running = pids(read_status(environment))
        foreground.send_signal(signal.SIGINT)
        foreground.communicate(timeout=60)
        assert foreground.returncode == 0
        assert all(gone(pid) for pid in running.values())
    finally:
        foreground.kill()
        run_tollbook(environment, "down")
