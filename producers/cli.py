"""The commands `simulate` and `replay`."""

import secrets
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
import orjson
import pyarrow as pa
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from producers.adapters import FORMATS
from producers.client import DeliveryError, Producer
from producers.replay import Trace, load, replayed
from producers.sending import Floats, Tally, report, send_paced
from producers.simulate import SimulatedBatch, Simulation
from producers.simulate import simulate as simulated
from schemas.registry import RegistryAwayError
from schemas.settings import Settings

FAILED = 1
CANNOT_DECIDE = 3


class Instant(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic only in newer click
    """A date or time in ISO 8601; UTC when it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date or time like 2026-03-01 or 2026-03-01T08:30:00+01:00", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


@click.command(epilog="Example: tollbook simulate --events 100000 --seed 7 --days 30")
@click.option("--events", type=click.IntRange(min=1), required=True, help="How many records to send, copies included.")
@click.option("--seed", type=click.IntRange(min=0), help="Decides every byte; without it, each run is another one.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events per second; without it, at once.")
@click.option("--from", "start", type=Instant(), help="First event time.")
@click.option(
    "--to", "end", type=Instant(), help="End of event time (exclusive); now, or with --seed this hour's start."
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Length of event time; default 1.")
@click.option("--duplicates", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Share sent twice.")
@click.option("--late", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Share sent hours late.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(
    events: int,
    seed: int | None,
    rate: float | None,
    start: datetime | None,
    end: datetime | None,
    days: float | None,
    duplicates: float,
    late: float,
    as_json: bool,
) -> None:
    """Send simulated usage of three organizations to the ledger.

    The same seed, number of events and times give the same bytes, so sending them again is a duplicate of each event.
    Token sums count an event once, however often it is sent. Exit status: 0 sent and acknowledged, 1 something was
    not delivered, 2 usage, 3 the broker or the registry is away.
    """
    first, last = _event_times(start, end, days, _default_end(seed is not None))
    simulation = Simulation(
        seed=secrets.randbits(32) if seed is None else seed,
        events=events,
        start=_micros(first),
        end=_micros(last),
        duplicates=duplicates,
        late=late,
    )
    _answer(
        _send(_at_rate(simulated(simulation), rate), events)
        | {"seed": simulation.seed, "from": first.isoformat(), "to": last.isoformat()},
        as_json,
    )


def _default_end(repeatable: bool) -> datetime:
    """Now; for a repeatable run the start of this hour, so that a repeat has the same event times."""
    now = datetime.now(UTC)
    return now.replace(minute=0, second=0, microsecond=0) if repeatable else now


def _event_times(
    start: datetime | None, end: datetime | None, days: float | None, default_end: datetime
) -> tuple[datetime, datetime]:
    if start and end and days:
        raise click.UsageError("--from, --to and --days: two of them decide the third")
    length = timedelta(days=days or 1)
    if start and days:
        end = start + length
    end = end or default_end
    start = start or end - length
    if start >= end:
        raise click.UsageError(f"--from {start.isoformat()}: must be before --to {end.isoformat()}")
    return start, end


def _micros(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Speed(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic only in newer click
    """How many times faster than it happened; `max` is as fast as it goes (None)."""

    name = "speed"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        if value == "max":
            return None
        try:
            speed = float(value)
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{value!r} is not a number above 0, nor `max`", param, ctx)
        return speed


@click.command(epilog="Example: tollbook replay AzureLLMInferenceTrace_code.csv --speed 10 --seed 7")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format", "format_name", type=click.Choice(list(FORMATS)), help="Guessed from the first line otherwise."
)
@click.option("--speed", type=Speed(), default="max", show_default=True, help="Times as fast as it happened, or max.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Decides users, models and ids.")
@click.option("--at", type=click.Choice(["original", "now"]), default="now", show_default=True, help="Event times.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay(
    files: tuple[Path, ...], format_name: str | None, speed: float | None, seed: int, at: str, as_json: bool
) -> None:
    """Send the requests of usage traces to the ledger, with made-up users, projects and models.

    `--at now` moves all requests by whole hours, the last one into the hour before now. Files are read together, by
    time. A file replayed again with the same seed is not counted again. Exit status: 0 sent and acknowledged, 1 a line
    is malformed (then nothing is sent) or something was not delivered, 2 usage, 3 the broker or the registry is away.
    """
    try:
        trace = load(files, format_name, seed, _micros(datetime.now(UTC)) if at == "now" else None)
    except ValueError as error:
        _end(error, FAILED)
    _answer(_send(_at_speed(trace, speed), trace.requests.num_rows) | {"seed": seed}, as_json)


Paced = tuple[SimulatedBatch, Floats]


def _at_speed(trace: Trace, speed: float | None) -> Iterator[Paced]:
    """When each event is due, in seconds after the start."""
    first: int | None = None
    for events in replayed(trace):
        at = events.column("occurred_at").cast(pa.int64()).to_numpy()
        first = int(at[0]) if first is None else first
        none = np.zeros(len(at), np.bool_)
        yield SimulatedBatch(events, none, none), (at - first) / 1e6 / speed if speed else np.zeros(len(at))


def _at_rate(batches: Iterable[SimulatedBatch], rate: float | None) -> Iterator[Paced]:
    """When each event is due, in seconds after the start."""
    first = 0
    for batch in batches:
        rows = np.arange(first, first + batch.events.num_rows)
        yield batch, rows / rate if rate else np.zeros(len(rows))
        first += len(rows)


def _send(batches: Iterable[Paced], total: int) -> dict[str, Any]:
    """Sends all batches; returns the report. Ends the program when the ledger is away or an event is lost."""
    try:
        started = time.monotonic()
        tally = Tally()
        with Producer(Settings()) as producer, _progress(total) as advance:
            started = time.monotonic()
            for batch, due_s in batches:
                send_paced(producer, batch.events, due_s, started, advance)
                tally.add(batch.events, batch.repeated, batch.late)
            producer.flush()
            return report(tally, producer, time.monotonic() - started)
    except (RegistryAwayError, KafkaException, LookupError) as error:
        _end(error, CANNOT_DECIDE)
    except (DeliveryError, ValueError) as error:
        _end(error, FAILED)


def _end(error: Exception, status: int) -> NoReturn:
    click.echo(f"Error: {error}", err=True)
    sys.exit(status)


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("events", total=total)
        yield lambda count: bar.advance(task, count)


def _answer(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(result))
        return
    rate = result["events"] / result["seconds"] if result["seconds"] else 0
    click.echo(f"{result['acknowledged']} events acknowledged in {result['seconds']:.1f} s ({rate:,.0f} a second)")
    click.echo(f"{result['duplicates']} copies, {result['late']} late")
    for name, count in result["tokens"].items():
        click.echo(f"{name:24} {count:>18,}")


commands: list[click.Command] = [simulate, replay]
