"""`tollbook up`, `down`, `status`, `doctor`: the one-machine stack from the command line."""

import json
import os
import signal
import sys
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from local import checks, stack
from local.config import Config, ConfigError, load_config, read_stack_file
from local.downloads import DownloadError
from local.java import JavaError
from local.processes import NAMES
from local.superset import SupersetError
from local.supervised import DONE, READY, STARTING, WAITING

console = Console(highlight=False, markup=False, soft_wrap=True)  # `[ports]` is text
LAGGING = ("rating", "windows", "sink")  # the stages of which a lag is told
FAILURES = (checks.CheckError, ConfigError, DownloadError, JavaError, SupersetError, stack.StackError)


def reports_failure(command: Callable[..., None]) -> Callable[..., None]:
    """Turns what can go wrong with the stack into one line for the user and exit status 1."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except FAILURES as error:
            raise click.ClickException(str(error)) from error

    return run


def _config() -> Config:
    return load_config(os.environ, Path.cwd())


@click.command()
@click.option("--detach", is_flag=True, help="Return when all is ready, instead of staying until Ctrl-C.")
@click.option("--without", multiple=True, type=click.Choice(NAMES), help="Leave a process out; repeatable.")
@reports_failure
def up(detach: bool, without: tuple[str, ...]) -> None:
    """Start the whole stack on this machine.

    A second `up` on a running stack changes nothing.

    Example: tollbook up --detach --without superset
    """
    config = _config()
    if stack.is_running(config):
        console.print(f"Already running (state in {config.state_dir}); nothing changed.")
        follow(config)
        print_addresses(config)
        return
    stack.sweep(config)
    stack.check(config, without)
    prepare(config, without)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    supervisor = stack.launch(config, without, detach=detach)
    try:
        follow(config)
        print_addresses(config)
        if not detach:
            console.print("Ctrl-C stops everything.")
            supervisor.wait()
            raise stack.StackError(f"the supervisor ended. Its log: {config.logs_dir / 'supervisor.log'}")
    except KeyboardInterrupt:
        _stop(config)
    except stack.StackError:
        _stop(config)
        raise


def prepare(config: Config, without: tuple[str, ...]) -> None:
    """Does what has to be done before the first process starts, behind a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for step in stack.preparation(config, without):
            task = progress.add_task(f"Preparing {step.name}", total=step.units)
            for _ in step.run():
                progress.advance(task)


def follow(config: Config, awaited: Collection[str] = NAMES) -> None:
    """Shows how the awaited processes start; returns when they are ready. Raises stack.StackError when one cannot."""
    pending: dict[str, str] = {}
    with console.status("Starting") as spinner:
        for process in stack.changes(config, awaited):
            name, state = process["name"], process["state"]
            pending[name] = state
            if state not in (WAITING, STARTING):
                console.print(f"  {name}: {state}")
            starting = [name for name, state in pending.items() if state == STARTING]
            spinner.update(f"Starting {', '.join(starting)}")


def print_addresses(config: Config) -> None:
    """Prints where each service listens, and the login of the dashboards."""
    report = stack.status(config)
    for name, address in report["addresses"].items():
        console.print(f"{name:<11} {address}")
    if "superset" in report["addresses"]:
        password = read_stack_file(config)["superset_admin_password"]
        console.print(f"{'login':<11} admin / {password}")


def _stop(config: Config) -> bool:
    with console.status("Stopping"):
        return stack.stop(config)


@click.command()
@reports_failure
def down() -> None:
    """Stop the whole stack; no process is left.

    Example: tollbook down
    """
    console.print("Stopped." if _stop(_config()) else "Nothing was running.")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def status(as_json: bool) -> None:
    """Show every process, the addresses, and how far each stage lags.

    Exit status: 0 all ready, 1 something is not, 3 the stack is not running.

    Example: tollbook status --json
    """
    report = stack.status(_config())
    report["lag"] = stack.lag() if report["supervisor"]["running"] else {}
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_status(report)
    states = [entry["state"] for entry in (*report["processes"], *report["steps"])]
    if not report["supervisor"]["running"]:
        sys.exit(3)
    sys.exit(0 if all(state in (READY, DONE) for state in states) else 1)


def _print_status(report: dict[str, Any]) -> None:
    if not report["supervisor"]["running"]:
        console.print("The stack is not running. Start it with `tollbook up`.")
        return
    table = Table("process", "state", "pid", "restarts", "memory", "lag", box=None)
    for entry in report["processes"]:
        table.add_row(
            entry["name"],
            entry["state"],
            str(entry["pid"] or ""),
            str(entry["restarts"]),
            f"{entry['rss_bytes'] / 1e6:.0f} MB",
            _total_lag(report, entry["name"]),
        )
    console.print(table)
    if report["lag"] is None:
        console.print(" The lag could not be read: Kafka does not answer, or its topics are not made yet.")
    for name, address in report["addresses"].items():
        console.print(f" {name:<11} {address}")


def _total_lag(report: dict[str, Any], name: str) -> str:
    if report["lag"] is None:
        return "?" if name in LAGGING else ""
    places = report["lag"].get(name)
    return "" if places is None else str(sum(places.values()))


@click.command()
@reports_failure
def doctor() -> None:
    """Check that this machine can run the stack, and say what to do where it cannot.

    Example: tollbook doctor
    """
    config = _config()
    running = stack.is_running(config)
    failed = False
    for check in checks.all_checks(config):
        if running and check.name.startswith("port "):
            continue
        try:
            console.print(f"ok    {check.name}: {check.run()}")
        except checks.CheckError as error:
            failed = True
            console.print(f"wrong {check.name}: {error}")
    console.print(f"      stack: {'running' if running else 'not running'} (state in {config.state_dir})")
    sys.exit(1 if failed else 0)


commands: list[click.Command] = [up, down, status, doctor]
