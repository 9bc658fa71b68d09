"""The commands of `python -m benchmarks`: each measures one thing, keeps it, and writes RESULTS.md anew."""

import json
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import machine, report, runs, template
from benchmarks.job import HOUR_US, HOURS, Job
from benchmarks.store import Section
from benchmarks.systems import TOLLBOOK, System, systems, versions

SEED = click.option("--seed", default=1, show_default=True, help="Decides every event.")
CPUS = click.option("--cpus", default=2, show_default=True, type=click.IntRange(1), help="Everything is kept to these.")
NAMES = [system.name for system in systems()]


def measuring(command: Callable[..., None]) -> Callable[..., None]:
    """Pins the processors, gives the command a folder that vanishes, and renders the results at its end."""

    @wraps(command)
    def run(*, cpus: int, **options: Any) -> None:
        machine.pin(cpus)
        try:
            with TemporaryDirectory(prefix="tollbook-bench-") as folder:
                command(folder=Path(folder), **options)
        finally:
            report.write()

    return run


@click.group()
def main() -> None:
    """Measure the pipeline and its peers on this machine; results go to benchmarks/RESULTS.md.

    A command that was cut off goes on where it was when it is given again at the same commit.

    Example: python -m benchmarks peers --events 600000 --runs 5
    """


def _job(seed: int, events: int, duplicates: float = 0.0) -> Job:
    """Six hours that are over, so that no event is of the future."""
    return Job(seed, events, (int(time.time()) // 3600 - HOURS) * HOUR_US, duplicates)


def _chosen(names: tuple[str, ...]) -> list[System]:
    return [system for system in systems() if not names or system.name in names]


@main.command()
@click.option("--events", default=600_000, show_default=True, type=click.IntRange(min=20_000), help="Of the fastest.")
@click.option("--runs", "rounds", default=5, show_default=True, type=click.IntRange(min=1), help="Of each, in turn.")
@click.option("--system", "names", multiple=True, type=click.Choice(NAMES), help="Only these; repeatable.")
@SEED
@CPUS
@measuring
def peers(folder: Path, events: int, rounds: int, names: tuple[str, ...], seed: int) -> None:
    """Compare this system with its peers: the same events, the same job, in turn; then a kill with copies sent.

    Example: python -m benchmarks peers --events 600000 --runs 5 --system tollbook --system plain
    """
    chosen = _chosen(names)
    section = Section("peers", machine.described(), {"events": events, "seed": seed})
    topics: dict[tuple[int, float], template.Template] = {}

    def topic(system: System, duplicates: float) -> template.Template:
        size = max(10_000, int(events * system.share))
        if (size, duplicates) not in topics:
            topics[size, duplicates] = template.make(folder, _job(seed, size, duplicates))
        return topics[size, duplicates]

    def measure(kind: str, number: int, system: System, of: Callable[..., dict[str, Any]], duplicates: float) -> None:
        key = {"kind": kind, "run": number, "system": system.name}
        if section.has(**key):
            return
        try:
            found = of(system, topic(system, duplicates), folder)
        except (RuntimeError, TimeoutError) as error:  # told in the table; the others still get their turn
            found = {"failed": str(error)}
        click.echo(json.dumps(key | found))
        section.add(**key, title=system.title, link=system.link, versions=_versions(system), **found)

    for number in range(rounds):
        for system in chosen:
            measure("speed", number, system, runs.speed, 0.0)
    for system in chosen:
        measure("survival", 0, system, runs.survival, 0.01)


def _versions(system: System) -> dict[str, str]:
    return {} if system.name == TOLLBOOK else versions(system)


@main.command()
@click.option("--events", default=600_000, show_default=True, type=click.IntRange(min=20_000), help="Preloaded.")
@SEED
@CPUS
@measuring
def pace(folder: Path, events: int, seed: int) -> None:
    """Time this system alone, once, and print it as one JSON object.

    Example: python -m benchmarks pace --events 1000000
    """
    [system] = _chosen((TOLLBOOK,))
    click.echo(json.dumps(runs.speed(system, template.make(folder, _job(seed, events)), folder)))
