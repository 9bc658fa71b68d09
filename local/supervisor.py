"""The daemon that runs the stack: starts what is ready to start, restarts what ended, ends all in order.

One thread: a turn over all processes, then waiting for a signal (a child's end, or the wish to stop) or a short time.
Its state is in `supervisor.json`; the lock on `supervisor.lock` says that it lives.
"""

import fcntl
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO

import click

from local import child_process
from local.config import Config, load_config, read_stack_file, write_private
from local.processes import NAMES, Process, process_table, selected
from local.supervised import DONE, READY, STOPPED, Supervised

POLL_S = 0.1  # while something starts or stops
IDLE_S = 5.0  # otherwise; a child's end wakes at once
WAKING = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}

log = logging.getLogger("supervisor")


def run(config: Config, table: list[Process]) -> None:
    """Runs the processes until SIGTERM or SIGINT, then ends them in reverse order."""
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKING)
    children = {process.name: Supervised(process, config) for process in table}
    stopping = False
    written = ""
    while not (stopping and all(child.state == STOPPED for child in children.values())):
        _turn(children, stopping)
        written = _save(config, children, written)
        received = signal.sigtimedwait(WAKING, _wait_s(children, stopping))
        if received and received.si_signo != signal.SIGCHLD and not stopping:
            log.info("stopping")
            stopping = True
    _save(config, children, written)


def _turn(children: dict[str, Supervised], stopping: bool) -> None:
    for child in children.values():
        child.notice_end(time.monotonic())
        if stopping and _is_unused(child, children):
            child.stop(time.monotonic())
        elif not stopping and _may_start(child, children):
            child.start_if_due(time.monotonic())
    for child in [] if stopping else children.values():  # after all starts: asking takes time
        child.notice_ready(time.monotonic())


def _may_start(child: Supervised, children: dict[str, Supervised]) -> bool:
    return all(children[name].state in (READY, DONE) for name in child.process.after if name in children)


def _is_unused(child: Supervised, children: dict[str, Supervised]) -> bool:
    return all(user.state == STOPPED for user in children.values() if child.process.name in user.process.after)


def _wait_s(children: dict[str, Supervised], stopping: bool) -> float:
    settled = all(child.state in (READY, DONE) for child in children.values())
    return IDLE_S if settled and not stopping else POLL_S


def _save(config: Config, children: dict[str, Supervised], written: str) -> str:
    state = {
        "supervisor": {"pid": os.getpid(), "started_at": child_process.created_s(os.getpid())},
        "processes": [child.describe() for child in children.values()],
    }
    text = json.dumps(state, indent=1)
    if text != written:
        write_private(state_file(config), text)
    return text


def state_file(config: Config) -> Path:
    """What the supervisor last knew: its own pid, and each process's name, pid, state and restarts."""
    return config.state_dir / "supervisor.json"


def hold_lock(config: Config) -> IO[str] | None:
    """Takes the lock that the supervisor of a state directory holds; None when another one has it."""
    file = (config.state_dir / "supervisor.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _await_lock(config: Config) -> IO[str] | None:
    # Who asks whether a supervisor runs holds the lock for an instant.
    deadline = time.monotonic() + 1.0
    while (lock := hold_lock(config)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return lock


@click.command()
@click.option("--without", multiple=True, type=click.Choice(NAMES), help="Leave a process out; repeatable.")
def main(without: tuple[str, ...]) -> None:
    """Run the stack of the present settings in the foreground (`tollbook up` starts this)."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s")
    config = load_config(os.environ, Path.cwd())
    lock = _await_lock(config)
    if lock is None:
        raise click.ClickException(f"another supervisor runs the stack in {config.state_dir}")
    with lock:
        run(config, selected(process_table(config, read_stack_file(config)), without))
    log.info("stopped")


if __name__ == "__main__":
    main()
