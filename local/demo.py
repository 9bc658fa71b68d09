"""`tollbook demo`: a working day in a minute, and the proof that all its numbers agree."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from local import child_process, stack
from local.cli import console, follow, prepare, print_addresses, reports_failure
from local.config import REPOSITORY, Config, load_config
from local.demo_inbox import demo_inbox
from local.ledger import Measured, measure
from local.live_view import live_view
from local.processes import NAMES

EVENTS = 160_000
EVENTS_PER_S = 4_000
DASHBOARDS = ("superset-provision", "superset")
PIPELINE = tuple(name for name in NAMES if name not in DASHBOARDS)
TOLLBOOK = str(Path(sys.executable).with_name("tollbook"))
POLL_S = 1.0
LANDING_S = 120.0  # how long the view goes on after the last event was sent
WAIT_S = 120


@click.command()
@click.option("--exit", "ends", is_flag=True, help="Stop everything at the end, instead of staying until Ctrl-C.")
@reports_failure
def demo(ends: bool) -> None:
    """Start everything, replay a simulated working day, watch it, prove it, show the dashboard.

    A stack that runs already is used, and left running. Exit status: that of the audit (0 equal, 1 a difference,
    3 it cannot be decided), or 1 when something cannot start or be sent.

    Example: tollbook demo --exit
    """
    config = load_config(os.environ, Path.cwd())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if stack.is_running(config):
        console.print(f"Using the stack that runs already (state in {config.state_dir}).")
        status = _show(config)
        print_addresses(config)
        sys.exit(status)
    with demo_inbox(config) as inbox:
        supervisor = _start(config)
        try:
            status = _show(config)
            _tell_delivered(inbox)
            if not ends:
                print_addresses(config)
                _stay(supervisor)
        finally:
            with console.status("Stopping"):
                stack.stop(config)
    sys.exit(status)


def _start(config: Config) -> subprocess.Popen[bytes]:
    stack.stop(config)  # what a killed supervisor may have left
    stack.check(config, ())
    prepare(config, ())
    return stack.launch(config, (), detach=False)


def _stay(supervisor: subprocess.Popen[bytes]) -> None:
    console.print("Ctrl-C stops everything.")
    try:
        supervisor.wait()
    except KeyboardInterrupt:
        return
    raise stack.StackError("the supervisor ended. Its log: logs/supervisor.log in the state directory")


def _show(config: Config) -> int:
    """The demonstration on a stack that is starting or running; returns its exit status."""
    follow(config, PIPELINE)
    if _tollbook("budgets", "apply", str(REPOSITORY / "budgets.toml")):
        raise stack.StackError("the budgets could not be applied")
    _replay_day(config)  # while Superset still starts
    follow(config, DASHBOARDS)
    console.print("\nWaiting until everything sent is landed and counted, then proving it.")
    return _tollbook("wait", "--timeout", str(WAIT_S)) or _tollbook("audit")


def _tell_delivered(inbox: list[dict[str, Any]]) -> None:
    console.print(f"\n{len(inbox)} critical alerts were delivered to a webhook on this machine, signed. The last:")
    for alert in inbox[-1:]:
        console.print(f"  {alert['severity']}: {alert['detail']}")


def _tollbook(*arguments: str) -> int:
    return subprocess.run([TOLLBOOK, *arguments], check=False).returncode


def _replay_day(config: Config) -> None:
    """Sends the simulated day and shows its numbers as they arrive in the ledger."""
    since_micros = time.time_ns() // 1000
    start = ("--from", first_event(datetime.now(UTC)).isoformat())
    command = (TOLLBOOK, "simulate", "--events", str(EVENTS), *start, "--rate", str(EVENTS_PER_S), "--json")
    with child_process.start(command, os.environ, subprocess.PIPE) as sender:
        try:
            with live_view(console, EVENTS) as show:
                while sender.poll() is None:
                    show(measure(config, since_micros))
                    time.sleep(POLL_S)
                show(_landed(config, since_micros))
        finally:
            sender.terminate()
        said = sender.stdout.read().decode() if sender.stdout else ""
    if sender.returncode:
        raise stack.StackError(f"the day could not be replayed: {said.strip()}")


def first_event(now: datetime) -> datetime:
    """A day ago, but of this month (UTC): nobody is told of a month that was over when budgets were put in force."""
    return max(now - timedelta(days=1), now.replace(day=1, hour=0, minute=0, second=0, microsecond=0))


def _landed(config: Config, since_micros: int) -> Measured | None:
    """The numbers when all events are in, or after a while: `wait` and `audit` judge, this only shows."""
    deadline = time.monotonic() + LANDING_S
    while True:
        measured = measure(config, since_micros)
        if (measured and measured.events >= EVENTS) or time.monotonic() > deadline:
            return measured
        time.sleep(POLL_S / 2)


commands: list[click.Command] = [demo]
