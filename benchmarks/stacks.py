"""Stacks that a measurement runs on: each in a folder and on ports of its own, gone when the measurement ends.

`tollbook up` stays our child and dies with us, and the stack dies with it: not even `kill -9` of the harness leaves
a process behind.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from local import child_process, stack
from local.config import Config, Ports, load_config, read_stack_file
from local.processes import NAMES
from local.supervised import DONE, FAILED, READY
from schemas.settings import Settings

TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
WORKERS = ("rating", "windows", "sink")
START_S, STOP_S, POLL_S = 240.0, 90.0, 0.05


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: how to reach it, and which processes it consists of."""

    config: Config
    environment: dict[str, str]
    settings: Settings

    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return {each["name"]: int(each["pid"]) for each in _processes(self.config) if each["pid"] and not each["step"]}

    def supervisor_pid(self) -> int:
        """Of the process that started all others."""
        return int(stack.read_state(self.config)["supervisor"]["pid"])

    def run(self, *arguments: str) -> str:
        """The output of a command of ours on this stack; RuntimeError with its output when it fails."""
        done = subprocess.run(
            [TOLLBOOK, *arguments], env=os.environ | self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"tollbook {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


@contextmanager
def running(state_dir: Path, without: Collection[str] = ()) -> Iterator[Stack]:
    """A stack without Superset, with its state in `state_dir`; entered when all is ready.

    Raises RuntimeError when it does not start, TimeoutError when it takes too long.
    """
    environment = _environment(state_dir)
    config = load_config(os.environ | environment, state_dir.parent)
    left_out = {*without, "superset-provision", "superset"}
    command = [TOLLBOOK, "up", *(part for name in sorted(left_out) for part in ("--without", name))]
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "up.log").open("ab") as log:
        up = child_process.start(command, os.environ | environment, log, signal.SIGTERM)
        try:
            wait_until(lambda: _is_up(up, config, set(NAMES) - left_out), START_S, f"stack in {state_dir}")
            yield Stack(config, environment, _settings(config))
        finally:
            _stop(up, environment)


def wait_until(holds: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Returns once it holds; TimeoutError naming `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(POLL_S)


def copied(template: Path, target: Path) -> Path:
    """A copy of a stopped stack's state, made anew, without what its processes left to say that they run."""

    def left_out(folder: str, _: list[str]) -> set[str]:
        # Only at the top: further down `.log` is what Kafka calls its data.
        return {"logs", "ready", "up.log", "supervisor.lock", "supervisor.json"} if Path(folder) == template else set()

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(template, target, ignore=left_out)
    return target


def _is_up(up: subprocess.Popen[bytes], config: Config, names: Collection[str]) -> bool:
    if up.poll() is not None:
        log = (config.state_dir / "up.log").read_text(errors="replace")
        raise RuntimeError(f"tollbook up ended with status {up.returncode}: {log[-2000:]}")
    states = {each["name"]: each["state"] for each in _processes(config)}
    failed = [name for name, state in states.items() if state == FAILED]
    if failed:
        raise RuntimeError(f"{failed} cannot start; logs in {config.logs_dir}")
    return all(states.get(name) in (READY, DONE) for name in names)


def _processes(config: Config) -> list[dict[str, Any]]:
    return list(stack.read_state(config).get("processes", []))


def _stop(up: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    if up.poll() is None:
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child_process.signal_group(up.pid, signal.SIGKILL)
            up.wait()
    subprocess.run([TOLLBOOK, "down"], env=os.environ | environment, capture_output=True, check=True)


def _settings(config: Config) -> Settings:
    values = read_stack_file(config)
    return Settings(
        state_dir=config.state_dir,
        kafka=values["kafka"],
        registry=values["registry"],
        clickhouse=values["clickhouse"],
        clickhouse_password=SecretStr(values["clickhouse_password"]),
    )


def _environment(state_dir: Path) -> dict[str, str]:
    names = [name.upper() for name in Ports.__dataclass_fields__]
    # Below the range of outgoing connections, so that none of them takes a port meanwhile.
    candidates = random.sample(range(20_000, 32_000), 1_000)
    ports = islice(filter(_is_free, candidates), len(names))
    chosen = {f"TOLLBOOK_{name}_PORT": str(port) for name, port in zip(names, ports, strict=True)}
    ours = {"TOLLBOOK_STATE_DIR": str(state_dir), "TOLLBOOK_NOTIFY": str(state_dir / "notify.toml")}
    return ours | chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
