"""The commands of `python -m benchmarks`: each measures one thing, keeps it, and writes RESULTS.md anew."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks import guard, latency, machine, queries, rating, report, rerate, runs, stacks, steady, template
from benchmarks.job import Job, latest_start
from benchmarks.preload import preload
from benchmarks.store import Section
from benchmarks.systems import TOLLBOOK, System, systems, versions
from stream_processors import warehouse

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
    return Job(seed, events, latest_start(datetime.now(UTC)), duplicates)


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
    failed: list[str] = []

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
        except Exception as error:  # told in the table; the others still get their turn
            found = {"failed": f"{type(error).__name__}: {error}"}
            failed.append(f"{system.name} ({kind})")
        _keep(section, key | {"title": system.title, "link": system.link, "versions": _versions(system)} | found)

    for number in range(rounds):
        for system in chosen:
            measure("speed", number, system, runs.speed, 0.0)
    for system in chosen:
        measure("survival", 0, system, runs.survival, 0.01)
    if failed:
        raise click.ClickException(f"failed: {', '.join(failed)}; the same command tries them again")


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


RATE = click.option("--rate", default=5_000, show_default=True, type=click.IntRange(1), help="Events per second.")
RATES = (0, 1_000, 10_000, 50_000)


@main.command("latency")
@click.option("--rate", "rates", multiple=True, default=RATES, show_default=True, type=click.IntRange(0))
@click.option("--seconds", default=40.0, show_default=True, help="At each rate.")
@SEED
@CPUS
@measuring
def latency_command(folder: Path, rates: tuple[int, ...], seconds: float, seed: int) -> None:
    """Time events to their alerts and to their rows, with nothing else going on and under traffic.

    Example: python -m benchmarks latency --rate 0 --rate 10000 --seconds 60
    """
    section = Section("latency", machine.described(), {"seconds": seconds, "seed": seed})
    missing = [each for each in rates if not section.has(rate=each)]
    if not missing:
        return
    with stacks.running(folder / "latency") as stack:
        budgets = folder / "budgets.toml"
        budgets.write_text(latency.BUDGET)
        stack.run("budgets", "apply", str(budgets))
        for each in missing:
            _keep(section, latency.measure(stack, each, seconds, seed + each))


@main.command("guard")
@click.option("--rate", default=10_000, show_default=True, type=click.IntRange(1), help="Events per second.")
@click.option("--seconds", default=40.0, show_default=True)
@SEED
@CPUS
@measuring
def guard_command(folder: Path, rate: int, seconds: float, seed: int) -> None:
    """Time what asking the guard takes, and how old its answers are under traffic.

    Example: python -m benchmarks guard --rate 10000
    """
    section = Section("guard", machine.described(), {"seconds": seconds, "seed": seed})
    if not section.has(rate=rate):
        with stacks.running(folder / "guard") as stack:
            _keep(section, guard.measure(stack, rate, seconds, seed))


@main.command()
@click.option("--seconds", default=30.0, show_default=True)
@CPUS
@measuring
def idle(folder: Path, seconds: float) -> None:
    """Measure what the stack (but Superset) uses while nothing comes.

    Example: python -m benchmarks idle --seconds 60
    """
    section = Section("idle", machine.described(), {"seconds": seconds})
    if not section.has(kind="idle"):
        with stacks.running(folder / "idle") as stack:
            _keep(section, {"kind": "idle"} | steady.idle(stack, seconds))


@main.command()
@click.option("--minutes", default=20.0, show_default=True)
@RATE
@SEED
@CPUS
@measuring
def memory(folder: Path, minutes: float, rate: int, seed: int) -> None:
    """Watch memory and CPU of each process over a steady run.

    Example: python -m benchmarks memory --minutes 5
    """
    section = Section("memory", machine.described(), {"minutes": minutes, "rate": rate, "seed": seed})
    if not section.has(rate=rate):
        with stacks.running(folder / "memory") as stack:
            _keep(section, steady.memory(stack, rate, minutes, seed))


@main.command()
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1), help="Kills of each worker.")
@click.option("--keys", default=1_000_000, show_default=True, type=click.IntRange(0), help="Windows open before.")
@click.option("--ids", default=10_000_000, show_default=True, type=click.IntRange(0), help="Events rated before.")
@RATE
@SEED
@CPUS
@measuring
def recovery(folder: Path, rounds: int, keys: int, ids: int, rate: int, seed: int) -> None:
    """Kill each worker under traffic, with a past behind it, and time until its partitions move again.

    Example: python -m benchmarks recovery --rounds 5 --keys 0 --ids 0
    """
    parameters = {"rate": rate, "seed": seed, "rounds": rounds, "keys": keys, "ids": ids}
    section = Section("recovery", machine.described(), parameters)
    if not section.has(round=rounds - 1):
        with stacks.running(folder / "recovery") as stack:
            preload(stack, keys, ids, seed)
            for result in steady.recovery(stack, rate, rounds, seed):
                _keep(section, result)


@main.command("rerate")
@click.option("--rows", default=1_000_000, show_default=True, type=click.IntRange(min=20_000))
@SEED
@CPUS
@measuring
def rerate_command(folder: Path, rows: int, seed: int) -> None:
    """Time the re-rating of many rows, from the command to a passing audit.

    Example: python -m benchmarks rerate --rows 200000
    """
    section = Section("rerate", machine.described(), {"rows": rows, "seed": seed})
    if not section.has(rows=rows):
        with stacks.running(folder / "rerate") as stack:
            _keep(section, rerate.measure(stack, rows, folder, seed))


@main.command("queries")
@click.option(
    "--rows", "sizes", multiple=True, default=(10_000_000, 100_000_000), show_default=True, type=click.IntRange(1)
)
@click.option("--repeats", default=20, show_default=True, type=click.IntRange(1), help="Of each question.")
@CPUS
@measuring
def queries_command(folder: Path, sizes: tuple[int, ...], repeats: int) -> None:
    """Time the dashboard's questions on many rows.

    Example: python -m benchmarks queries --rows 100000000
    """
    section = Section("queries", machine.described(), {"repeats": repeats})
    if all(section.has(rows=rows) for rows in sizes):
        return
    left_out = (*stacks.WORKERS, "kafka", "registry", "provision", "notifier", "collector", "console")
    with stacks.running(folder / "queries", without=left_out) as stack, warehouse.connect(stack.settings) as client:
        there = 0
        for rows in sorted(sizes):
            seconds = queries.fill(client, there, rows)
            there = rows
            if not section.has(rows=rows):
                for result in queries.ask(client, repeats):
                    _keep(section, {"rows": rows, "fill_s": round(seconds, 1)} | result)


@main.command("rating")
@click.option("--events", default=300_000, show_default=True, type=click.IntRange(min=20_000))
@SEED
@CPUS
@measuring
def rating_command(folder: Path, events: int, seed: int) -> None:
    """Time pricing against a loop over `genai-prices`, and each stage alone beside its floor.

    Example: python -m benchmarks rating --events 1000000
    """
    section = Section("rating", machine.described(), {"events": events, "seed": seed})
    if not section.has(events=events):
        _keep(section, rating.measure(_job(seed, events)))


def _keep(section: Section, result: dict[str, Any]) -> None:
    click.echo(json.dumps(result))
    section.add(**result)


@main.command("all")
@click.pass_context
def everything(context: click.Context) -> None:
    """Measure all of the above with their defaults: about two hours.

    Example: python -m benchmarks all
    """
    failed = []
    for command in (
        *(rating_command, peers, idle, latency_command, guard_command),
        *(recovery, rerate_command, memory, queries_command),
    ):
        click.echo(f"== {command.name}")
        try:
            context.invoke(command)
        except Exception as error:  # told at the end: the others still get their turn
            click.echo(f"{command.name}: {error!r}", err=True)
            failed.append(command.name)
    if failed:
        raise click.ClickException(f"not measured: {', '.join(map(str, failed))}; the same command tries them again")
