"""Runs the fast subset over and over, and keeps how often it passed: `python -m tests.faults.steady --runs 20`."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

import click

from .table import FastRuns, write_fast

COMMAND = (sys.executable, "-m", "pytest", "tests/faults", "-m", "not campaign", "-q")


@click.command()
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1))
@click.option("--lanes", default=1, show_default=True, type=click.IntRange(1), help="Runs at the same time.")
def main(runs: int, lanes: int) -> None:
    """Run the fast fault scenarios again and again."""
    logs = Path(mkdtemp(prefix="tollbook-faults-"))
    with ThreadPoolExecutor(lanes) as pool:
        ended = list(pool.map(lambda number: _run(number, logs / f"{number}.log"), range(runs)))
    passed = sum(ok for ok, _ in ended)
    seconds = [each for _, each in ended]
    write_fast(FastRuns(passed, runs - passed, lanes, min(seconds), max(seconds)))
    if passed < runs:
        raise click.ClickException(f"{runs - passed} of {runs} runs failed: see {logs}")


def _run(number: int, log: Path) -> tuple[bool, float]:
    began = time.monotonic()
    with log.open("wb") as output:
        ok = subprocess.run(COMMAND, stdout=output, stderr=subprocess.STDOUT, check=False).returncode == 0
    seconds = time.monotonic() - began
    click.echo(f"run {number}: {'passed' if ok else 'failed'} in {seconds:.0f} s")
    return ok, seconds


if __name__ == "__main__":
    main()
