"""What the commands share that correct booked usage: which usage, and the run with its progress."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from schemas.instant import parse_instant
from schemas.settings import Settings
from stream_processors.core.corrections import Tally
from stream_processors.core.dated import instant_us
from stream_processors.correct import Chosen, Correction, NotLandedError, Outcome, correct
from stream_processors.sink.warehouse import AwayError, RefusedError
from stream_processors.warehouse import WarehouseError

LAST = datetime(2100, 1, 1, tzinfo=UTC)
LEFT = "the same usage is being changed by others all the time: run it again"


def chosen(start: str, end: str | None, conditions: Sequence[str], fields: Collection[str]) -> Chosen:
    """From the options `--from`, `--to` and `--where`; ValueError names what is wrong."""
    start_us, end_us = _instant_us("--from", start), _instant_us("--to", end or LAST.isoformat())
    if end_us <= start_us:
        raise ValueError(f"--to = {end}: must be after --from = {start}")
    return Chosen(start_us, end_us, _where(conditions, fields))


def run(settings: Settings, correction: Correction, usage: Chosen, dry_run: bool, timeout: float) -> Outcome:
    """Corrects, with progress shown. Raises WarehouseError, KafkaException, RegistryAwayError or LookupError."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        done = 0

        def tell(what: str, rows: int) -> None:
            nonlocal done
            done += rows
            bar.update(task, description=f"{what}: {done:,} rows" if done else what)

        try:
            return correct(settings, correction, usage, dry_run, timeout, tell)
        except (AwayError, RefusedError, NotLandedError) as error:
            raise WarehouseError(f"ClickHouse at {settings.clickhouse}: {error}") from error


def left_alone(tally: Tally) -> list[str]:
    """For people: what was left as it is, and why."""
    found = (
        (tally.repeated, "a copy was booked too; left as they are"),
        (tally.unsound, "what corrections made of them is not what one use can be; left as they are"),
    )
    return [f"{count:,} uses: {why}" for count, why in found if count]


def _instant_us(option: str, text: str) -> int:
    moment = parse_instant(option, text)
    if not timedelta(0) <= LAST - moment <= timedelta(days=85 * 366):
        raise ValueError(f"{option} = {text!r}: the ledger's dates are 2015-01-01 to before 2100-01-01")
    return instant_us(moment)


def _where(conditions: Sequence[str], fields: Collection[str]) -> dict[str, tuple[str, ...]]:
    said: dict[str, tuple[str, ...]] = {}
    for condition in conditions:
        name, is_said, value = condition.partition("=")
        if not is_said or name not in fields:
            raise ValueError(f"--where = {condition!r}: NAME=VALUE, with NAME one of {', '.join(fields)}")
        said[name] = (*said.get(name, ()), value)
    return said
