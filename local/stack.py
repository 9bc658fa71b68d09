"""Starting, following and ending the stack, and telling how it is."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import child_process, downloads, kafka, registry, superset
from local.checks import all_checks
from local.config import REPOSITORY, Config, read_stack_file, write_stack_file
from local.supervised import DONE, FAILED, GRACE_S, READY
from local.supervisor import hold_lock, state_file

POLL_S = 0.1
LAUNCH_TIMEOUT_S = 15.0
LAG_TIMEOUT_S = 30.0
LOG_TAIL_LINES = 15


class StackError(Exception):
    """The stack did not start or stop as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Step:
    """Part of the preparation: what it is called, how many units it has, and the work, a unit at a time."""

    name: str
    units: int
    run: Callable[[], Iterator[object]]


def is_running(config: Config) -> bool:
    """Whether a supervisor runs the stack of this state directory."""
    if not config.state_dir.exists():
        return False
    lock = hold_lock(config)
    if lock is None:
        return True
    lock.close()
    return False


def check(config: Config, without: tuple[str, ...]) -> None:
    """Raises checks.CheckError when something needed is missing; nothing has been started then."""
    for condition in all_checks(config, without):
        condition.run()


def preparation(config: Config, without: tuple[str, ...]) -> list[Step]:
    """What has to be there before the first process starts: downloads, secrets, formatted storage."""
    artifacts = [*kafka.JARS, registry.ARCHIVE]

    def fetch() -> Iterator[object]:
        take_state_dir(config.state_dir)
        config.logs_dir.mkdir(exist_ok=True)
        (config.state_dir / "ready").mkdir(exist_ok=True)
        yield from downloads.fetch_all(artifacts, config.cache_dir)

    def configure() -> Iterator[object]:
        for prepare in (write_stack_file, registry.prepare, kafka.prepare):
            yield prepare(config)

    def dashboards() -> Iterator[object]:
        superset.prepare(config)
        yield config

    steps = [Step("Kafka and the schema registry", len(artifacts), fetch), Step("configuration", 3, configure)]
    return steps if "superset" in without else [*steps, Step("Superset", 1, dashboards)]


def take_state_dir(state_dir: Path) -> None:
    """Closes the directory to everybody else: databases, topics and logs in it are readable by others otherwise.

    Raises StackError when it is not ours alone to close.
    """
    found = state_dir.stat()
    if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
        raise StackError(f"TOLLBOOK_STATE_DIR: {state_dir} is shared with others; choose a directory of your own")
    state_dir.chmod(0o700)


def launch(config: Config, without: tuple[str, ...], *, detach: bool) -> subprocess.Popen[bytes]:
    """Starts the supervisor; unless detached it ends, with all it runs, when this process does."""
    arguments = [argument for name in without for argument in ("--without", name)]
    command = [sys.executable, "-P", "-m", "local.supervisor", *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    with (config.logs_dir / "supervisor.log").open("ab") as output:
        if not detach:
            return child_process.start(command, environment, output, signal.SIGTERM)
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def changes(config: Config, awaited: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yields each awaited process's description whenever its state changes; ends when all of them are ready.

    Raises StackError when one cannot start, or when the supervisor is gone.
    """
    known: dict[str, str] = {}
    began = time.monotonic()
    while True:
        entries = read_state(config).get("processes", [])
        processes = [process for process in entries if process["name"] in awaited]
        for process in processes:
            if known.get(process["name"]) != process["state"]:
                known[process["name"]] = process["state"]
                yield process
            if process["state"] == FAILED:
                raise StackError(_why(config, process))
        if entries and all(process["state"] in (READY, DONE) for process in processes):
            return
        if (known or time.monotonic() - began > LAUNCH_TIMEOUT_S) and not is_running(config):
            raise StackError(f"the supervisor ended. Its log: {config.logs_dir / 'supervisor.log'}")
        time.sleep(POLL_S)


def _why(config: Config, process: dict[str, Any]) -> str:
    path = config.logs_dir / f"{process['name']}.log"
    lines = [line for line in path.read_text(errors="replace").splitlines() if not _is_java_frame(line)]
    tail = "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])
    return (
        f"{process['name']} cannot start: it ended with status {process['exit_status']}, several times. "
        f"The end of its log, {path}:\n{tail}\n"
        f"Mend that and run `tollbook up` again, or leave it out with `--without {process['name']}`"
    )


def _is_java_frame(line: str) -> bool:
    return line.startswith("\tat ")  # a stack trace would push the reason out of sight


def stop(config: Config) -> bool:
    """Ends the supervisor and all it runs; False when nothing ran. Raises StackError when something survives."""
    running = is_running(config)
    if running:
        _wait(lambda: bool(read_state(config)), LAUNCH_TIMEOUT_S)  # it may have begun this instant
        state = read_state(config)
        _signal(state["supervisor"], signal.SIGTERM)
        if not _wait(lambda: not is_running(config), _stop_timeout_s(state)):
            _signal(state["supervisor"], signal.SIGKILL)  # the kernel then ends its children
    return sweep(config) or running


def sweep(config: Config) -> bool:
    """Ends what a supervisor that is gone has left; False when there is nothing. Raises StackError as `stop`."""
    pids = [(entry["pid"], entry["started_at"]) for entry in _entries(read_state(config)) if entry["pid"]]
    left = [pid for pid in pids if child_process.is_alive(*pid)]
    for pid, _ in left:
        child_process.signal_group(pid, signal.SIGKILL)
    if not _wait(lambda: not any(child_process.is_alive(*pid) for pid in left), GRACE_S):
        raise StackError(f"processes that do not end: {[pid for pid, _ in left]}")
    state_file(config).unlink(missing_ok=True)
    return bool(left)


def _entries(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [state["supervisor"], *state["processes"]] if state else []


def _signal(supervisor: dict[str, Any], signum: signal.Signals) -> None:
    if child_process.is_alive(supervisor["pid"], supervisor["started_at"]):
        os.kill(supervisor["pid"], signum)


def _stop_timeout_s(state: dict[str, Any]) -> float:
    return GRACE_S * (len(state["processes"]) + 1)


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def read_state(config: Config) -> dict[str, Any]:
    """What the supervisor last wrote; empty when it never did."""
    try:
        state: dict[str, Any] = json.loads(state_file(config).read_text())
    except FileNotFoundError:
        return {}
    return state


def status(config: Config) -> dict[str, Any]:
    """How the stack is: supervisor, processes, steps and addresses. How far stages lag is told by `lag`."""
    running = is_running(config)
    state = read_state(config) if running else {}
    entries = state.get("processes", [])
    names = {entry["name"] for entry in entries}
    return {
        "supervisor": {"running": running, "pid": state["supervisor"]["pid"] if state else None},
        "processes": [_process_status(entry) for entry in entries if not entry["step"]],
        "steps": [{"name": entry["name"], "state": entry["state"]} for entry in entries if entry["step"]],
        "addresses": {name: address for name, address in addresses(config).items() if name in names},
    }


def _process_status(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": entry["name"],
        "pid": entry["pid"],
        "state": entry["state"],
        "restarts": entry["restarts"],
        "rss_bytes": child_process.resident_bytes(entry["pid"]) if entry["pid"] else 0,
    }


def addresses(config: Config) -> dict[str, str]:
    """The addresses of the last start."""
    values = read_stack_file(config)
    return {name: values[name] for name in config.addresses if name in values}


def lag() -> dict[str, Any] | None:
    """How far each stage is behind; None when that cannot be told now."""
    command = [sys.executable, "-P", "-m", "stream_processors.lag", "--json"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    try:
        run = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=LAG_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return dict(json.loads(run.stdout))
