"""`tollbook audit`: proves that stream, table, windows, rollups and dashboard tell the same numbers."""

import sys
import time
from collections.abc import Sequence

import click
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.settings import Settings
from stream_processors.audit.model import Check, Difference, Report
from stream_processors.audit.run import run_audit
from stream_processors.audit.said import say_differences
from stream_processors.commands.output import print_json, print_table, reports_failure, require_kafka
from stream_processors.copies import take_back_all

SHOWN = 30


@click.command()
@click.option("--deep", is_flag=True, help="Also decode and price every event of usage.events again.")
@click.option("--repair", is_flag=True, help="First take back what is booked more than once, in all the books.")
@click.option("--alert", is_flag=True, help="Say differences in usage.alerts, once a day for each check.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_failure
def audit(deep: bool, repair: bool, alert: bool, as_json: bool) -> None:
    """Prove that stream, table, windows, rollups, alerts, limits and dashboard tell the same numbers.

    Exact at any instant, also while the stream runs: both sides of a comparison are taken at the same positions.
    Exit status: 0 equal, 1 a difference, 3 it cannot be decided (nothing landed, a service away).

    Example: tollbook audit --json
    """
    if repair:
        taken_back = take_back_all(Settings())
        click.echo(f"took back {taken_back} copies", err=True)
    report = _run(deep)
    if alert:
        say_differences(Settings(), report, time.time_ns() // 1000)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    sys.exit(report.exit_code)


def _run(deep: bool) -> Report:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("audit", total=None)
        compared = 0

        def tell(name: str, count: int) -> None:
            nonlocal compared
            compared += count
            bar.update(task, description=f"audit: {name} {compared:,} events" if compared else f"audit: {name}")

        settings = Settings()
        return run_audit(settings, deep, _kafka_error(settings.kafka), tell)


def _kafka_error(kafka: str) -> str:
    try:
        require_kafka(kafka)
    except KafkaException as error:
        return f"Kafka at {kafka}: {error.args[0].str()}"
    return ""


def _print(report: Report) -> None:
    print_table(
        ("check", "compared", "differences", "not landed yet", ""),
        [_check_cells(check) for check in report.checks],
        numbers=("compared", "differences", "not landed yet"),
    )
    for check in report.checks:
        for note in check.notes:
            click.echo(f"{check.name}: {note}")
    click.echo()
    _print_watermarks(report)
    differences = [difference for check in report.checks for difference in check.differences]
    if differences:
        click.echo()
        _print_differences(differences)
    click.echo()
    click.echo(_verdict(report, len(differences)))


def _check_cells(check: Check) -> tuple[str, ...]:
    verdict = "DIFFERENT" if check.differing else f"undecided: {check.undecided}" if check.undecided else "equal"
    return check.name, f"{check.checked:,}", f"{check.differing:,}", f"{check.ahead:,}", verdict


def _print_watermarks(report: Report) -> None:
    names = ("src_partition", "landed_offset", "landed_block", "windows_block", "log_end", "lag")
    rows = [tuple("?" if mark[name] is None else str(mark[name]) for name in names) for mark in report.watermarks]
    print_table(names, rows, numbers=names)


def _print_differences(differences: Sequence[Difference]) -> None:
    names = ("table", "scope", "window", "measure", "expected", "found")
    rows = [
        (*(str(getattr(difference, name)) for name in names), _place(difference)) for difference in differences[:SHOWN]
    ]
    print_table((*names, "position"), rows, numbers=("expected", "found"))


def _place(difference: Difference) -> str:
    return ", ".join(f"{name} {value}" for name, value in difference.position.items())


def _verdict(report: Report, named: int) -> str:
    differing = sum(check.differing for check in report.checks)
    if differing:
        more = f"; {min(named, SHOWN)} are shown, --json names up to {named}" if differing > SHOWN else ""
        return f"{differing:,} difference{'s' if differing > 1 else ''}{more}."
    undecided = [check for check in report.checks if check.undecided]
    if undecided:
        return "It cannot be decided: " + "; ".join(f"{check.name}: {check.undecided}" for check in undecided) + "."
    behind = sum(int(mark["lag"] or 0) for mark in report.watermarks)
    rest = f" {behind:,} events are not landed yet: `tollbook wait` returns when they are." if behind else ""
    return f"Every number agrees, to the pico-dollar.{rest}"


commands: list[click.Command] = [audit]
