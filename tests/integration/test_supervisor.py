"""The supervisor on small processes made for the purpose: order, failure, stubbornness, grandchildren."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

# Runs the supervisor on a table given as JSON, with a short grace.
SUPERVISE = """
import json, os, pathlib, sys
from local import supervised, supervisor
from local.config import load_config
from local.processes import Process
supervised.GRACE_S = 0.5
config = load_config(os.environ, pathlib.Path.cwd())
for name in ("logs", "ready"):
    (config.state_dir / name).mkdir(parents=True)
def process(command, ready=("file",), **rest):
    return Process(command=(sys.executable, "-c", command), ready=tuple(ready), **rest)
supervisor.run(config, [process(**entry) for entry in json.load(sys.stdin)])
"""
READY = "import os, pathlib; pathlib.Path(os.environ['TOLLBOOK_READY_FILE']).write_text(str(os.getpid()))\n"
SERVE = READY + "import time; time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
PARENT = (
    "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n" + SERVE
)

Supervise = Callable[[list[dict[str, Any]]], subprocess.Popen[str]]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Starts a supervisor on a table; ends it after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(table: list[dict[str, Any]]) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", SUPERVISE], cwd=tmp_path, stdin=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdin
        process.stdin.write(json.dumps(table))
        process.stdin.close()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def entry(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """What `supervisor.json` says of a process; empty as long as it says nothing."""

    def read(name: str) -> dict[str, Any]:
        path = tmp_path / ".tollbook" / "supervisor.json"
        entries = json.loads(path.read_text())["processes"] if path.exists() else []
        return next((entry for entry in entries if entry["name"] == name), {})

    return read


def wait_for(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


Entry = Callable[[str], dict[str, Any]]


def test_nothing_starts_before_what_it_needs(supervise: Supervise, entry: Entry) -> None:
    supervise(
        [
            {"name": "never-ready", "command": "import time; time.sleep(600)"},
            {"name": "step", "command": "pass", "ready": ["exit"]},
            {"name": "after-step", "command": SERVE, "after": ["step"]},
            {"name": "after-never", "command": SERVE, "after": ["never-ready", "step"]},
            {"name": "needs-one-left-out", "command": SERVE, "after": ["left-out"]},
        ]
    )
    wait_for(lambda: entry("after-step").get("state") == entry("needs-one-left-out").get("state") == "ready")
    assert entry("step")["state"] == "done"
    assert (entry("never-ready")["state"], entry("after-never")["state"]) == ("starting", "waiting")


def test_step_that_fails_is_tried_again_then_reported(supervise: Supervise, entry: Entry, tmp_path: Path) -> None:
    supervise([{"name": "step", "command": "print('no such table'); raise SystemExit(3)", "ready": ["exit"]}])
    wait_for(lambda: entry("step").get("state") == "failed")
    assert entry("step")["exit_status"] == 3
    assert (tmp_path / ".tollbook" / "logs" / "step.log").read_text().count("no such table") >= 5


def test_one_that_never_gets_ready_is_ended_and_tried_again(supervise: Supervise, entry: Entry) -> None:
    supervise([{"name": "slow", "command": "import time; time.sleep(600)", "start_timeout_s": 1}])
    wait_for(lambda: entry("slow").get("restarts", 0) >= 1)
    assert entry("slow")["exit_status"] == -signal.SIGTERM


def test_restarted_one_is_ready_only_when_the_new_one_says_so(supervise: Supervise, entry: Entry) -> None:
    supervise([{"name": "service", "command": SERVE}])
    wait_for(lambda: entry("service").get("state") == "ready")
    first = entry("service")["pid"]
    psutil.Process(first).kill()
    wait_for(lambda: entry("service")["state"] == "ready" and entry("service")["pid"] != first)
    assert entry("service")["restarts"] == 1


def test_users_end_before_what_they_use(supervise: Supervise, entry: Entry, tmp_path: Path) -> None:
    note = "import atexit, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit())\n"
    note += "atexit.register(lambda: open('ended', 'a').write({name!r} + ' '))\n"
    table = [
        {"name": name, "command": note.format(name=name) + SERVE, "after": after}
        for name, after in (("broker", []), ("worker", ["broker"]), ("screen", ["worker"]))
    ]
    supervisor = supervise(table)
    wait_for(lambda: entry("screen").get("state") == "ready")
    supervisor.terminate()
    assert supervisor.wait(30) == 0
    assert (tmp_path / "ended").read_text().split() == ["screen", "worker", "broker"]


def test_one_that_ignores_the_wish_is_killed(supervise: Supervise, entry: Entry) -> None:
    supervisor = supervise([{"name": "stubborn", "command": STUBBORN}])
    wait_for(lambda: entry("stubborn").get("state") == "ready")
    pid = entry("stubborn")["pid"]
    supervisor.terminate()
    assert supervisor.wait(30) == 0
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_process_started_ends_with_it(
    supervise: Supervise, entry: Entry, tmp_path: Path, signum: signal.Signals
) -> None:
    supervise([{"name": "parent", "command": PARENT}])
    wait_for(lambda: entry("parent").get("state") == "ready")
    grandchild = psutil.Process(int((tmp_path / ".tollbook" / "logs" / "parent.log").read_text()))
    psutil.Process(entry("parent")["pid"]).send_signal(signum)
    wait_for(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


def test_state_of_the_stack_is_private(supervise: Supervise, entry: Entry, tmp_path: Path) -> None:
    supervise([{"name": "service", "command": SERVE}])
    wait_for(lambda: entry("service").get("state") == "ready")
    assert (tmp_path / ".tollbook" / "supervisor.json").stat().st_mode & 0o077 == 0
